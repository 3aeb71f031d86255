// The steps of training, op by op or as a CUDA graph.
#pragma once

#include <memory>

#include "core/cuda.h"
#include "nn/data.h"
#include "options.h"
#include "training_state.h"

namespace evenkeel::app {

/// Trains a state on batches of a data set. On a CUDA device, unless options.graph is false, all steps on
/// whole batches but the first of the process are launches of one graph: data, order, angles, learning rate
/// and counters are in the device's memory, and the host does nothing for a step but launch it. The bits are
/// those of steps op by op.
class TrainingSteps {
 public:
  TrainingSteps(TrainingState& state, const data::Dataset& train, const RunOptions& options);

  /// Of an epoch.
  std::int64_t count() const { return batches_.count(); }
  bool has_graph() const { return options_.graph && options_.device.is_cuda(); }
  void begin_epoch(int epoch);
  /// Enqueues the step on batch `i`; adds it to state.totals.
  void run(std::int64_t i);
  /// The kernels of a step that is a launch of the graph, and all its operations; 0 before the first.
  std::int64_t kernel_nodes() const;
  std::int64_t nodes() const;
  /// Until all of them are done.
  void wait() const;
  /// The mean loss of the last step's batch. Waits for the device.
  double loss() const { return loss_.item(); }

 private:
  Tensor train_on(const data::Batch& batch);
  void run_graph(std::int64_t i);
  void record();

  TrainingState& state_;
  RunOptions options_;
  std::int64_t images_;
  data::Batches batches_;
  Tensor loss_, graph_loss_;
  bool ran_ = false;  // a step op by op, which makes what the graph finds there

  // In the device's memory: the image in the order of the epoch at which the next launch begins, and the keys
  // of the default generator used before it; and what a launch adds to them.
  Tensor counters_, increments_;
  bool counters_agree_ = false;  // with the host's
  std::uint64_t draws_ = 0;      // keys a step
  std::shared_ptr<CudaGraph> graph_;
};

}  // namespace evenkeel::app
