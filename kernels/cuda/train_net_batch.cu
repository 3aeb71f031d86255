#include "evenkeel/kernels/cuda/train_net_kernel.cuh"

namespace evenkeel::cuda {

template struct TrainNetKernel<FusedNorm::batch, true, float>;
template struct TrainNetKernel<FusedNorm::batch, false, float>;

}  // namespace evenkeel::cuda
