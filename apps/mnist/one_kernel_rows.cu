#include "evenkeel/apps/mnist/one_kernel_steps.cuh"

namespace evenkeel::mnist {

template struct OneKernelOfNorm<NormPartition::rows, true, float>;

}  // namespace evenkeel::mnist
