#include "evenkeel/apps/mnist/one_kernel_steps.cuh"

namespace evenkeel::cuda {

template struct TrainNetKernel<ChainNorm::rows, true, float>;

}  // namespace evenkeel::cuda
