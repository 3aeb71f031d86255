#include "evenkeel/apps/mnist/one_kernel_steps.cuh"

namespace evenkeel::mnist {

template struct OneKernelOfNorm<NormPartition::batch, true, float>;
template struct OneKernelOfNorm<NormPartition::batch, false, float>;

}  // namespace evenkeel::mnist
