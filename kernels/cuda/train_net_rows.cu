#include "evenkeel/kernels/cuda/train_net_kernel.cuh"

namespace evenkeel::cuda {

template struct TrainNetKernel<FusedNorm::rows, true, float>;

}  // namespace evenkeel::cuda
