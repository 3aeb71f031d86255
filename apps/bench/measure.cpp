#include "bench/measure.h"

#include <cmath>
#include <limits>

#include "bench/peer.h"

namespace evenkeel::bench {
namespace {

/// What rounding may leave, over the largest element: of sums of up to 2e5 products, and of statistics of
/// data with a far mean.
double error_bound(DType dtype) { return dtype == DType::f64 ? 5e-12 : 1e-5; }
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
  double error = -1;
  std::string name;
};
/// Over the arrays that `got` and `expected` both have.
Worst worst_of(const Results& got, const AllExpected& expected) {
  Worst worst;
  for (const auto& [name, values] : expected) {
    const auto found = got.find(name);
    if (found == got.end()) continue;
    const double error = error_of(found->second, values);
    if (!(error <= worst.error)) worst = {error, name};
    if (std::isnan(error)) break;
  }
  return worst;
}

std::string bits_of_run(DeviceArrays& arrays, const Launch& launch) {
  arrays.reset();
  launch();
  return arrays.bits();
}

/// Sets the number of threads while it lives.
class WithThreads {
 public:
  explicit WithThreads(int n) : before_(num_threads()) { set_num_threads(n); }
  ~WithThreads() { set_num_threads(before_); }
  WithThreads(const WithThreads&) = delete;
  WithThreads& operator=(const WithThreads&) = delete;

 private:
  int before_;
};

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
  const Worst worst = worst_of(arrays.results(), expected);
  result.error = worst.error;
  result.worst = worst.name;
  result.error_bound = error_bound(row.dtype);
  if (!(worst.error >= 0 && worst.error <= result.error_bound)) {
    result.complaints.push_back(
        fmt::format("the error of {} is {:.1e}, above {:.1e}", worst.name, worst.error, result.error_bound));
  }
  check_bits(result, arrays, launch);

  std::vector<Contender> contenders{{"evenkeel", launch, [device] { wait_for(device); }}};
  const std::unique_ptr<Peer> peer = device.is_cpu() ? make_peer(row, values) : nullptr;
  if (peer) {
    contenders.push_back({peer_name(), [&] { peer->run(); }, [] {}});
    peer->run();
    const Worst of_peer = worst_of(peer->results(), expected);
    result.peers.push_back({peer_name(), {}, of_peer.error});
    if (!(of_peer.error <= kPeerBound)) {
      result.complaints.push_back(fmt::format("{} computes something else: the error of its {} is {:.1e}",
                                              peer_name(), of_peer.name, of_peer.error));
    }
  }
  arrays.reset();
  const std::vector<Timing> timings = time_in_turn(contenders, flush, effort);
  result.timing = timings[0];
  if (peer) result.peers[0].timing = timings[1];
  return result;
}

}  // namespace evenkeel::bench
