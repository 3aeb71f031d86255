#include "evenkeel/apps/mnist/one_kernel_steps.cuh"

namespace evenkeel::mnist {

template struct OneKernelOfNorm<FusedNorm::batch, true, float>;
template struct OneKernelOfNorm<FusedNorm::batch, false, float>;

}  // namespace evenkeel::mnist
