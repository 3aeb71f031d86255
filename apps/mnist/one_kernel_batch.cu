#include "evenkeel/apps/mnist/one_kernel_steps.cuh"

namespace evenkeel::cuda {

template struct TrainNetKernel<ChainNorm::batch, true, float>;
template struct TrainNetKernel<ChainNorm::batch, false, float>;

}  // namespace evenkeel::cuda
