#include "evenkeel/apps/mnist/one_kernel_steps.cuh"

namespace evenkeel::cuda {

template struct TrainNetKernel<ChainNorm::group, true, float>;

}  // namespace evenkeel::cuda
