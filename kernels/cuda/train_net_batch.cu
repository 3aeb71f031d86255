#include "evenkeel/kernels/cuda/train_net_kernel.cuh"

namespace evenkeel::cuda {

template struct TrainNetKernel<ChainNorm::batch, true, float>;
template struct TrainNetKernel<ChainNorm::batch, false, float>;

}  // namespace evenkeel::cuda
