// A run at work, and how it goes into a checkpoint and back.
#pragma once

#include <cmath>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint.h"
#include "evenkeel/core/random.h"
#include "evenkeel/nn/data.h"
#include "evenkeel/nn/optim.h"
#include "options.h"
#include "run_directory.h"

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
  /// Takes the state_dict() of another RunningTotals. Throws Error, before anything is changed, on any other.
  void load_state_dict(const NamedTensors& state);

 private:
  Tensor totals_;  // f64: the sum of losses, and how many were correct
  std::int64_t images_ = 0;
};

/// A run at work: everything that changes while it trains, and what it is trained with. One that is made from
/// a checkpoint goes on to the same bits.
struct Run : Progress {
  /// The initial weights are those of the seed or, without a checkpoint, of options.weights. `train` lies on
  /// options.device. Throws UsageError if options.weights do not fit the network, DataError if the checkpoint
  /// does not.
  Run(const RunOptions& options, const data::Dataset& train, const std::optional<Checkpoint>& checkpoint);
  Run(const Run&) = delete;  // the network refers to the generator, the schedule to the optimizer
  Run& operator=(const Run&) = delete;

  std::string name() const;
  void begin_next_epoch();
  Checkpoint checkpoint() const;

  RunOptions options;
  Generator generator;  ///< of the initial weights, then of the dropout masks
  nn::Sequential net;
  optim::SGD sgd;
  optim::StepLR schedule;
  RunningTotals totals;  ///< of the epoch in progress
  data::Batches batches;
  std::unique_ptr<RunDirectory> directory;  ///< null: the run writes no files
};

}  // namespace evenkeel::app
