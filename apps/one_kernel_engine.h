// Training of the study's networks inside one kernel, many steps a launch: mnist/one_kernel_args.h,
// docs/one-kernel.md. CUDA only.
#pragma once

#include <string>
#include <vector>

#include "training_engine.h"

namespace evenkeel::app {

/// Trains one run of mnist::network() or several at a time, which have one kind of norm and one batch size.
/// Changes parameters, buffers, momentum buffers and totals in place.
class OneKernelEngine : public TrainingEngine {
 public:
  /// `most_blocks`: blocks a network, which work on its images together; at least 1. All of them are resident
  /// at once, one on a multiprocessor. More than images in a batch are not used, unless there are twice as
  /// many, and clusters on the device: two blocks share an image then. Throws Error, with the reason, if
  /// why_not() has one.
  OneKernelEngine(std::vector<Run*> runs, int most_blocks);
  /// "" or why a network cannot be trained in this way: it is another network, or the device has too little
  /// shared memory.
  static std::string why_not(nn::Sequential& net);
  /// The multiprocessors of a device: the most blocks that all runs can have together, and the most runs that
  /// make sense at a time.
  static int most_runs(Device device);

  /// Enqueues all steps up to `end`, of all runs.
  std::int64_t train(std::int64_t first, std::int64_t end) override;
  double loss() const override { return loss_of(0).item(); }
  bool runs_ahead() const override { return true; }
  /// The mean loss of run i's last batch, f32 [1].
  Tensor loss_of(std::size_t i) const {
    return losses_.slice(0, static_cast<std::int64_t>(i), static_cast<std::int64_t>(i) + 1);
  }
  /// The number of blocks that share an image.
  int cluster() const { return cluster_; }

 private:
  void choose_blocks(int most_blocks);

  std::vector<Run*> runs_;
  int blocks_ = 1, cluster_ = 1;  // of a network, and of an image
  Device device_;
  Tensor losses_, scratch_;
};

}  // namespace evenkeel::app
