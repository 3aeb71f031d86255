// How one_kernel.cu reaches the kernel of each normalization.
#pragma once

#include "evenkeel/apps/mnist/one_kernel_args.h"
#include "evenkeel/kernels/cuda/simt.h"

namespace evenkeel::mnist {

using namespace cuda;

/// What the kernel is launched with.
template <typename T>
struct OneKernelLaunch {
  const TrainingPointers<T>* networks;
  unsigned* arrivals;  // [count]
  T* scratch;          // [count, scratch_stride]
  std::int64_t scratch_stride, first_step, steps;
  int blocks;  // of a network's grid group
};

/// The kernel for one normalization, instantiated by a file of its own (one_kernel_steps.cuh). KEEPS_Z:
/// blocks keep the outputs of their convolutions in shared memory.
template <NormPartition NORM, bool KEEPS_Z, typename T>
struct OneKernelOfNorm {
  static void launch(const LaunchConfig& config, const OneKernelLaunch<T>& launched);
  /// How many clusters of such a launch the device can hold at once; 0: it has none.
  static int clusters(const LaunchConfig& config);
};

}  // namespace evenkeel::mnist
