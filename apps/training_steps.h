// The steps of training: op by op, as a CUDA graph, or inside one kernel.
#pragma once

#include <memory>

#include "evenkeel/apps/mnist/one_kernel.h"
#include "evenkeel/core/cuda.h"
#include "evenkeel/nn/data.h"
#include "options.h"
#include "training_state.h"

namespace evenkeel::app {

/// A run at work: its state, its options, and the generator of its dropout keys, which all that is not one
/// kernel takes from default_generator().
struct Trainee {
  TrainingState* state;
  RunOptions options;
  Generator* generator;
};

/// Trains a state on batches of a data set. On a CUDA device, unless options.graph is false, all steps on
/// whole batches but the first of the process are launches of one graph: data, order, angles, learning rate
/// and counters are in the device's memory, and the host does nothing for a step but launch it. The bits are
/// those of steps op by op. With another engine than layers many steps are one kernel: the same up to
/// rounding.
class TrainingSteps {
 public:
  /// Throws UsageError if the engine cannot train this network on this device.
  TrainingSteps(TrainingState& state, const data::Dataset& train, const RunOptions& options);
  /// Several states at once, in one kernel. They are at the same step, and share norm, groups, batch size and
  /// device.
  TrainingSteps(const std::vector<Trainee>& trainees, const data::Dataset& train);

  /// Of an epoch.
  std::int64_t count() const { return batches_.count(); }
  bool has_graph() const { return options_.graph && options_.device.is_cuda() && !one_kernel_; }
  /// True if the host is done with steps long before the device.
  bool runs_ahead() const { return has_graph() || one_kernel_; }
  void begin_epoch(int epoch);
  /// Enqueues the step on batch `i`, and with one kernel those up to `end` too; adds them to state.totals.
  /// Returns the first one that is left.
  std::int64_t run(std::int64_t i, std::int64_t end);
  /// The kernels of a step that is a launch of the graph, and all its operations; 0 before the first.
  std::int64_t kernel_nodes() const;
  std::int64_t nodes() const;
  /// Until all of them are done.
  void wait() const;
  /// The mean loss of the last step's batch. Waits for the device.
  double loss() const { return (one_kernel_ ? one_kernel_->loss(0) : loss_).item(); }

 private:
  void run_one(std::int64_t i);
  Tensor train_on(const data::Batch& batch);
  void run_graph(std::int64_t i);
  void record();

  std::vector<Trainee> trainees_;
  TrainingState& state_;  // the first one's, as are options and batches
  RunOptions options_;
  std::int64_t images_;
  std::vector<std::unique_ptr<data::Batches>> all_batches_;
  data::Batches& batches_;
  Tensor loss_, graph_loss_;
  bool ran_ = false;  // a step op by op, which makes what the graph finds there

  // In the device's memory: the image in the order of the epoch at which the next launch begins, and the keys
  // of the default generator used before it; and what a launch adds to them.
  Tensor counters_, increments_;
  bool counters_agree_ = false;  // with the host's
  std::uint64_t draws_ = 0;      // keys a step
  std::shared_ptr<CudaGraph> graph_;

  std::unique_ptr<mnist::NetTrainer> one_kernel_;  // or null
};

}  // namespace evenkeel::app
