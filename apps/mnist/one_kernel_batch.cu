#include "evenkeel/apps/mnist/one_kernel_steps.cuh"

namespace evenkeel::mnist {

template struct OneKernelOfNorm<ChainNorm::batch, true, float>;
template struct OneKernelOfNorm<ChainNorm::batch, false, float>;

}  // namespace evenkeel::mnist
