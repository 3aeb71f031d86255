// One row measured: whether it is right, how long it takes, and beside whom.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench/machine.h"
#include "bench/row.h"
#include "bench/timing.h"

namespace evenkeel::bench {

/// What another library needs for the same row.
struct PeerResult {
  std::string name;
  Timing timing;
  std::optional<double> error;  // as Result::error, where its result is here
};

struct Result {
  double error =
      0;  // the largest |got - expected| of an array over its largest |expected|; NaN if not finite
  double error_bound = 0;
  std::string worst;  // the array that has it
  bool same_bits = false;
  std::optional<bool> same_bits_threads;  // on one thread and on all; nothing on a GPU
  Timing timing;
  std::vector<PeerResult> peers;
  std::vector<std::string> complaints;  // the checks that failed, each a sentence

  bool ok() const { return complaints.empty(); }
};

/// Runs the row on `device`, beside the peer that is built in where it can.
Result measure(const Row& row, Device device, CacheFlush& flush, const Effort& effort);

}  // namespace evenkeel::bench
