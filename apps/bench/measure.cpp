#include "bench/measure.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "bench/peer.h"

namespace evenkeel::bench {
namespace {

/// The error that rounding may cause, over the largest element, in sums of up to 2e5 products and in
/// statistics of data with a far mean. For 16 bits half a unit of the result is added.
double error_bound(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return 5e-12;
    case DType::bf16:
      return 1e-5 + 0x1p-8;
    case DType::f16:
      return 1e-5 + 0x1p-11;
    default:
      return 1e-5;
  }
}
double error_bound(const Row& row, const std::string& array) {
  const auto found = std::find_if(row.operands.begin(), row.operands.end(),
                                  [&](const Operand& operand) { return operand.name == array; });
  return error_bound(found != row.operands.end() && is_floating(found->dtype) ? found->dtype : row.dtype);
}
/// A peer may add in any order, but has to compute the same.
constexpr double kPeerBound = 1e-3;

using Results = std::map<std::string, std::vector<double>>;
using AllExpected = std::map<std::string, Expected>;

/// |got - expected| at its largest over the largest |expected|; NaN as soon as something is not finite.
double error_of(const std::vector<double>& got, const Expected& expected) {
  const double scale = expected.values.largest();
  double largest = 0;
  for (reference::Index i = 0; i < expected.values.numel(); ++i) {
    const auto at =
        static_cast<std::size_t>(expected.at.empty() ? i : expected.at[static_cast<std::size_t>(i)]);
    const double difference = std::abs(got.at(at) - expected.values.values[i]);
    if (!std::isfinite(difference)) return std::numeric_limits<double>::quiet_NaN();
    largest = std::max(largest, difference);
  }
  return scale > 0 ? largest / scale : largest;
}

struct Worst {
  double error = -1, bound = 1;
  std::string name;
};
/// Over the arrays that `got` and `expected` both have, each by its bound.
Worst worst_of(const Row& row, const Results& got, const AllExpected& expected) {
  Worst worst;
  for (const auto& [name, values] : expected) {
    const auto found = got.find(name);
    if (found == got.end()) continue;
    const double error = error_of(found->second, values), bound = error_bound(row, name);
    if (!(error / bound <= worst.error / worst.bound)) worst = {error, bound, name};
    if (std::isnan(error)) break;
  }
  return worst;
}

std::string bits_of_run(DeviceArrays& arrays, const Launch& launch) {
  arrays.reset();
  launch();
  return arrays.bits();
}

void check_bits(Result& result, DeviceArrays& arrays, const Launch& launch) {
  const std::string bits = bits_of_run(arrays, launch);
  result.same_bits = bits == bits_of_run(arrays, launch);
  if (!result.same_bits) result.complaints.push_back("two runs differ in bits");
  if (!arrays.device().is_cpu()) return;
  const WithThreads other(num_threads() == 1 ? 2 : 1);
  result.same_bits_threads = bits == bits_of_run(arrays, launch);
  if (!*result.same_bits_threads) result.complaints.push_back("the bits depend on the number of threads");
}

}  // namespace

Result measure(const Row& row, Device device, CacheFlush& flush, const Effort& effort) {
  const Values values = make_values(row.operands);
  DeviceArrays arrays(row.operands, values, device);
  const Launch launch = row.bind(arrays);
  Result result;

  arrays.reset();
  launch();
  const AllExpected expected = row.reference(values);
  const Worst worst = worst_of(row, arrays.results(), expected);
  result.error = worst.error;
  result.worst = worst.name;
  result.error_bound = worst.bound;
  if (!(worst.error >= 0 && worst.error <= result.error_bound)) {
    result.complaints.push_back(
        fmt::format("the error of {} is {:.1e}, above {:.1e}", worst.name, worst.error, result.error_bound));
  }
  check_bits(result, arrays, launch);

  std::vector<Contender> contenders{{"evenkeel", launch, device}};
  const std::unique_ptr<Peer> peer = make_peer(row, values, device);
  if (peer) {
    const std::string name = peer_name(device);
    contenders.push_back({name, [&] { peer->run(); }, device});
    peer->run();
    const Worst of_peer = worst_of(row, peer->results(), expected);
    result.peers.push_back({name, {}, of_peer.error});
    if (!(of_peer.error <= kPeerBound)) {
      result.complaints.push_back(fmt::format("{} computes something else: the error of its {} is {:.1e}",
                                              name, of_peer.name, of_peer.error));
    }
  }
  arrays.reset();
  const std::vector<Timing> timings = time_in_turn(contenders, flush, effort);
  result.timing = timings[0];
  if (peer) result.peers[0].timing = timings[1];
  return result;
}

}  // namespace evenkeel::bench
