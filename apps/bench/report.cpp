#include "bench/report.h"

namespace evenkeel::bench {
namespace {

constexpr const char* kNotMeasured = "not measured";

/// What follows from the times: bytes a second of a cold call, operations a second of a warm one.
struct Rates {
  double bytes, flops;
  std::optional<double> of_copy, of_peak;
};

Rates rates(const Row& row, const Result& result, const Machine& machine) {
  Rates r{.bytes = row.least_bytes() / result.timing.cold.median,
          .flops = row.flops / result.timing.warm.median,
          .of_copy = {},
          .of_peak = {}};
  if (machine.copy) r.of_copy = r.bytes / *machine.copy;
  if (const auto peak = machine.peak(row.dtype)) r.of_peak = r.flops / *peak;
  return r;
}

std::string percent(std::optional<double> part) {
  return part ? fmt::format("{:.0f} %", 100 * *part) : kNotMeasured;
}

/// Microseconds, with about three figures.
std::string microseconds(double seconds) {
  const double us = 1e6 * seconds;
  return fmt::format("{:.{}f}", us, us < 10 ? 2 : us < 100 ? 1 : 0);
}

/// True if a warm call takes little more than a kernel that does nothing: launches bound it, not its bytes.
bool is_launch_bound(const Result& result, const Machine& machine) {
  return machine.node && result.timing.warm.median < 2 * *machine.node;
}

/// Why a rate may be above what the machine gives at most, one sentence for each that is. What the table
/// shows as 100 % is not above it.
std::vector<std::string> explanations(const Rates& r) {
  constexpr double kAbove = 1.005;
  std::vector<std::string> all;
  if (r.of_peak && !(*r.of_peak < kAbove)) {
    all.push_back(fmt::format(
        "{} of the multiply-add peak: the operations are counted as docs/benchmarks/README.md says, products "
        "with padding among them, and the kernel leaves some out; or the machine was slower while the peak "
        "was measured",
        percent(r.of_peak)));
  }
  if (r.of_copy && !(*r.of_copy < kAbove)) {
    all.push_back(
        fmt::format("{} of the copy: the kernel reads more than it writes, or the arrays stay in a cache "
                    "that the traffic "
                    "before a cold call does not fill; or the machine was slower while the copy was measured",
                    percent(r.of_copy)));
  }
  return all;
}

std::string_view yes_or_no(std::optional<bool> good) { return !good ? "-" : *good ? "yes" : "NO"; }

std::string peers(const Result& result) {
  if (result.peers.empty()) return kNotMeasured;
  std::vector<std::string> parts;
  for (const PeerResult& peer : result.peers) {
    parts.push_back(fmt::format("{} {} us, x{:.2f}", peer.name, microseconds(peer.timing.warm.median),
                                peer.timing.warm.median / result.timing.warm.median));
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

/// The columns that say which row it is.
std::string which(std::string_view op, std::string_view pass, std::string_view variant,
                  std::string_view dtype, std::string_view layout, std::string_view shape) {
  return fmt::format("{:<16} {:<15} {:<23} {:<5} {:<6} {:<18}", op, pass, variant, dtype, layout, shape);
}
std::string which(const Row& row) {
  return which(row.op, row.pass, row.variant, name_of(row.dtype), row.layout, row.shape.str());
}

}  // namespace

std::string title() {
  return fmt::format("{} {:>9} {:>24} {:>8} {:>7} {:>7} {:>8} {:>7} {:>8} {:>4} {:>7}  {}",
                     which("op", "pass", "variant", "dtype", "layout", "shape"), "least MB",
                     "cold us [p10-p90]", "warm us", "GB/s", "of copy", "GFLOP/s", "of peak", "error", "bits",
                     "threads", "peer warm us, peer/ours");
}

std::string line(const Row& row, const Result& result, const Machine& machine) {
  const Rates r = rates(row, result, machine);
  const Statistics& cold = result.timing.cold;
  std::string text = fmt::format(
      "{} {:>9.3f} {:>24} {:>8} {:>7.1f} {:>7} {:>8.1f} {:>7} {:>8.1e} {:>4} {:>7}  {}", which(row),
      row.least_bytes() / 1e6,
      fmt::format("{} [{}-{}]", microseconds(cold.median), microseconds(cold.p10), microseconds(cold.p90)),
      microseconds(result.timing.warm.median), r.bytes / 1e9, percent(r.of_copy), r.flops / 1e9,
      percent(r.of_peak), result.error, yes_or_no(result.same_bits), yes_or_no(result.same_bits_threads),
      peers(result));
  if (is_launch_bound(result, machine)) text += "; launch-bound";
  for (const std::string& why : explanations(r)) text += "\n  ABOVE 100 %: " + why;
  for (const std::string& complaint : result.complaints) text += "\n  FAILED: " + complaint;
  return text;
}

std::string list_line(const Row& row) {
  return fmt::format("{} {:>9.3f} MB {:>10.3f} MFLOP", which(row), row.least_bytes() / 1e6, row.flops / 1e6);
}

nlohmann::json json(const Row& row, const Result& result, const Machine& machine) {
  const Rates r = rates(row, result, machine);
  nlohmann::json out = row.json();
  out["cold"] = result.timing.cold;
  out["warm"] = result.timing.warm;
  out["bytes_per_s"] = r.bytes;
  out["of_copy"] = number_or_null(r.of_copy);
  out["flops_per_s"] = r.flops;
  out["of_peak"] = number_or_null(r.of_peak);
  out["above_100_percent"] = explanations(r);
  out["launch_bound"] = is_launch_bound(result, machine);
  out["error"] = result.error;
  out["error_bound"] = result.error_bound;
  out["error_of"] = result.worst;
  out["same_bits"] = result.same_bits;
  out["same_bits_threads"] =
      result.same_bits_threads ? nlohmann::json(*result.same_bits_threads) : nlohmann::json(nullptr);
  out["peers"] = nlohmann::json::array();
  for (const PeerResult& peer : result.peers) {
    out["peers"].push_back({{"name", peer.name},
                            {"cold", peer.timing.cold},
                            {"warm", peer.timing.warm},
                            {"ratio_cold", peer.timing.cold.median / result.timing.cold.median},
                            {"ratio", peer.timing.warm.median / result.timing.warm.median},
                            {"error", number_or_null(peer.error)}});
  }
  out["complaints"] = result.complaints;
  out["ok"] = result.ok();
  return out;
}

}  // namespace evenkeel::bench
