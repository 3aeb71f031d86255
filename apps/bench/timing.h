// How long a call takes: several contenders in turn, in one process.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "evenkeel/core/tensor.h"

namespace evenkeel::bench {

/// Percentiles of several samples, in seconds.
struct Statistics {
  double median = 0, p10 = 0, p90 = 0;
};
/// Percentiles between samples are interpolated. There is at least one sample.
Statistics statistics(std::vector<double> samples);
void to_json(nlohmann::json& json, const Statistics& s);

/// Waits for the device's work; nothing on a CPU.
void wait_for(Device device);

/// Puts other data into the device's caches.
class CacheFlush {
 public:
  static constexpr std::int64_t kBytes = std::int64_t{1}
                                         << 27;  // of each of two arrays: read both, write one
  explicit CacheFlush(Device device);
  void operator()();

 private:
  Tensor a_, b_;
};

/// Something that is called and timed. On a CPU `call` returns when its work is done, on a CUDA device when
/// it is enqueued on the current stream.
struct Contender {
  std::string name;
  std::function<void()> call;
  Device device;
};

struct Timing {
  Statistics cold;  // of single calls, each after a flush; on a CUDA device between two events
  Statistics
      warm;  // a call, averaged over enough calls in a row to fill min_time; on a CUDA device in graphs
};

struct Effort {
  int repeat = 11;          // samples of each statistic
  double min_time = 0.002;  // seconds a warm sample
};

/// Seconds a node of a CUDA graph takes that has next to nothing to do: what lies between kernels.
double smallest_node(Device device);

/// Seconds of a barrier of the blocks of a CUDA device, one on each multiprocessor.
struct BarrierTimes {
  std::optional<double> grid_group;          // kernels/cuda/grid_group.cuh
  std::optional<double> cooperative_groups;  // not in EMULATED builds
};
BarrierTimes barrier_times(Device device);

/// Samples of the contenders in turn: A B A B ... Each has been called before.
std::vector<Timing> time_in_turn(const std::vector<Contender>& contenders, CacheFlush& flush,
                                 const Effort& effort);

}  // namespace evenkeel::bench
