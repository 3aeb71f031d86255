// Convolution on the CPU: directly on images in lanes (lanes/conv2d.cpp), as matrix products otherwise
// (conv2d_gemm.cpp).
#include "kernels/conv2d.h"

#include "kernels/cpu/conv2d_gemm.h"
#include "kernels/cpu/lanes/ops.h"

namespace evenkeel::cpu {

template <typename T>
MemoryFormat conv2d_format(const Conv2dSizes& s) {
  const std::int64_t lanes = lane_blocks<T>(s.N) * kLanes<T>, pixels = s.P * s.Q;
  const bool large = s.C * s.H * s.W + s.K * pixels > (8 << 20) / 64;  // 64 bytes each in a block
  const bool empty = s.N * s.C * s.H * s.W == 0;
  const bool few_filters = s.K / s.groups < 4;
  const bool products = (pixels >= 32 && (large || 2 * s.N <= lanes)) || 8 * s.N <= lanes;
  return empty || (products && !few_filters) ? MemoryFormat::strided : MemoryFormat::lanes;
}

template <typename T>
void conv2d_forward(const Conv2dForwardArgs<T>& a) {
  a.format == MemoryFormat::lanes ? lanes::conv2d_forward(a) : gemm::conv2d_forward(a);
}

template <typename T>
void conv2d_backward_input(const Conv2dBackwardInputArgs<T>& a) {
  a.format == MemoryFormat::lanes ? lanes::conv2d_backward_input(a) : gemm::conv2d_backward_input(a);
}

template <typename T>
void conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>& a) {
  a.format == MemoryFormat::lanes ? lanes::conv2d_backward_weight(a) : gemm::conv2d_backward_weight(a);
}

#define EK_INSTANTIATE(T)                                                 \
  template MemoryFormat conv2d_format<T>(const Conv2dSizes&);             \
  template void conv2d_forward(const Conv2dForwardArgs<T>&);              \
  template void conv2d_backward_input(const Conv2dBackwardInputArgs<T>&); \
  template void conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>&);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cpu
