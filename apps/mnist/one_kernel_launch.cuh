// How one_kernel.cu reaches the kernel of each normalization.
#pragma once

#include "evenkeel/kernels/cuda/simt.h"
#include "evenkeel/apps/mnist/one_kernel_args.h"

namespace evenkeel::cuda {

/// What the kernel is launched with.
template <typename T>
struct NetLaunch {
  const NetTraining<T>* networks;
  unsigned* arrivals;  // [count]
  T* scratch;          // [count, scratch_stride]
  std::int64_t scratch_stride, first_step, steps;
  int team;
};

/// The kernel for one normalization, instantiated by a file of its own (one_kernel_steps.cuh). HELD: blocks
/// keep the outputs of their convolutions in shared memory.
template <ChainNorm NORM, bool HELD, typename T>
struct TrainNetKernel {
  static void launch(const LaunchConfig& config, const NetLaunch<T>& launched);
  /// How many clusters of such a launch the device can hold at once; 0: it has none.
  static int clusters(const LaunchConfig& config);
};

}  // namespace evenkeel::cuda
