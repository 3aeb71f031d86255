// Training of the study's networks inside one kernel, many steps a launch: one_kernel_args.h,
// docs/one-kernel.md. CUDA only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "evenkeel/nn/data.h"
#include "evenkeel/nn/module.h"
#include "evenkeel/nn/optim.h"

namespace evenkeel::mnist {

/// A network of mnist::network() on a CUDA device, and what it is trained with. All of it must outlive the
/// NetTrainer, which changes parameters, buffers, momentum buffers and totals in place.
struct NetTask {
  nn::Sequential* net;
  optim::SGD* sgd;
  const data::Batches* batches;  ///< shuffled, and on the device
  Tensor totals;                 ///< f64 [2]: to which losses and right answers are added
  Generator* generator;          ///< of the dropout keys
};

/// Trains one network or several at a time. Networks of one NetTrainer have one kind of norm and one batch
/// size.
class NetTrainer {
 public:
  /// `most_blocks`: blocks a network, which work on its images together; at least 1. All of them are resident
  /// at once, one on a multiprocessor. More than images in a batch are not used, unless there are twice as
  /// many, and clusters on the device: two blocks share an image then. Throws Error, with the reason, if
  /// why_not() has one.
  NetTrainer(std::vector<NetTask> tasks, int most_blocks);
  /// "" or why a network cannot be trained in this way: it is another network, or the device has too little
  /// shared memory.
  static std::string why_not(nn::Sequential& net);

  /// Enqueues steps first ... first + steps - 1 of an epoch, of all networks.
  void run(std::int64_t first, std::int64_t steps);
  /// Blocks an image.
  int cluster() const { return cluster_; }
  /// The mean loss of network i's last batch, f32 [1].
  Tensor loss(std::size_t i) const {
    return losses_.slice(0, static_cast<std::int64_t>(i), static_cast<std::int64_t>(i) + 1);
  }
  /// The multiprocessors of a device: the most blocks that teams can have together, and the most networks
  /// that make sense at a time.
  static int most_networks(Device device);

 private:
  void choose_team(int most_blocks);

  std::vector<NetTask> tasks_;
  int team_ = 1, cluster_ = 1;
  Device device_;
  Tensor losses_, scratch_;
};

}  // namespace evenkeel::mnist
