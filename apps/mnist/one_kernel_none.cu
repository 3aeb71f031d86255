#include "evenkeel/apps/mnist/one_kernel_steps.cuh"

namespace evenkeel::mnist {

template struct OneKernelOfNorm<NormPartition::none, true, float>;

}  // namespace evenkeel::mnist
