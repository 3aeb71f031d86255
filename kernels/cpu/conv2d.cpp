// Convolution on the CPU: directly on images in lanes (lanes/conv2d.cpp), as matrix products otherwise
// (conv2d_gemm.cpp).
#include "evenkeel/kernels/conv2d.h"

#include "evenkeel/kernels/cpu/conv2d_gemm.h"
#include "evenkeel/kernels/cpu/lanes/ops.h"

namespace evenkeel::cpu::EK_ISA {

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
  template void conv2d_forward(const Conv2dForwardArgs<T>&);              \
  template void conv2d_backward_input(const Conv2dBackwardInputArgs<T>&); \
  template void conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>&);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cpu::EK_ISA
