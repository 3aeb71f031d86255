// What changes while a run trains, and how it goes into a checkpoint and back.
#pragma once

#include <cmath>
#include <optional>

#include "checkpoint.h"
#include "evenkeel/apps/mnist/network.h"
#include "evenkeel/nn/optim.h"
#include "options.h"

namespace evenkeel::app {

/// Sums over the batches of an epoch. They stay on the device: no step waits for the host.
class RunningTotals {
 public:
  explicit RunningTotals(Device device);

  void add(const Tensor& log_probs, const Tensor& labels, const Tensor& mean_loss);
  /// For a batch whose add() is a launch of a CUDA graph: what the host counts.
  void count(std::int64_t images) { images_ += images; }
  /// Back to 0, in the same memory.
  void reset();
  /// f64 [2], the device's: the sum of losses, and how many were right.
  Tensor sums() const { return totals_; }
  std::int64_t images() const { return images_; }
  // These wait for the device.
  double mean_loss() const { return totals_.slice(0, 0, 1).item() / static_cast<double>(images_); }
  std::int64_t correct() const { return std::llround(totals_.slice(0, 1, 2).item()); }

  NamedTensors state_dict() const;
  /// Of another one's state_dict(). Throws Error, before anything is changed, on any other.
  void load_state_dict(const NamedTensors& state);

 private:
  Tensor totals_;  // f64: the sum of losses, and how many were correct
  std::int64_t images_ = 0;
};

/// A run between two steps. One that is made from a checkpoint goes on to the same bits.
struct TrainingState : Progress {
  /// Seeds the default generator. Throws UsageError if options.weights do not fit the network, DataError if
  /// the checkpoint does not.
  TrainingState(const RunOptions& options, const std::optional<Checkpoint>& checkpoint);
  TrainingState(const TrainingState&) = delete;  // the schedule refers to the optimizer
  TrainingState& operator=(const TrainingState&) = delete;

  void begin_next_epoch();
  Checkpoint checkpoint(const RunOptions& options) const;

  nn::Sequential net;
  optim::SGD sgd;
  optim::StepLR schedule;
  RunningTotals totals;  ///< of the epoch in progress
};

}  // namespace evenkeel::app
