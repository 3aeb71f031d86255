// Convolution alone on the CPU: as a fused run of one block, directly on images in lanes
// (fused/convolution.h), or as matrix products (conv2d_gemm.h).
#include "evenkeel/kernels/conv2d.h"

#include "evenkeel/kernels/cpu/conv2d_gemm.h"
#include "evenkeel/kernels/fused_run.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

template <typename T>
RunBlock<T> block_of(const Conv2dSizes& s, const T* weight) {
  RunBlock<T> block;
  block.conv = s;
  block.after.N = s.N;
  block.after.C = static_cast<int>(s.K);
  block.after.H = static_cast<int>(s.P);
  block.after.W = static_cast<int>(s.Q);
  block.after.block.weight = weight;
  return block;
}

}  // namespace

template <typename T>
void conv2d_forward(const Conv2dForwardArgs<T>& a) {
  if (!conv2d_is_direct<T>(a.sizes)) return gemm::conv2d_forward(a);
  RunBlock<T> block = block_of(a.sizes, a.weight);
  block.bias = a.bias;
  fused_run_forward<T>(
      {.y = {a.y}, .saved = nullptr, .x = {a.x}, .blocks = &block, .count = 1, .N = a.sizes.N});
}

template <typename T>
void conv2d_backward_input(const Conv2dBackwardInputArgs<T>& a) {
  if (!conv2d_is_direct<T>(a.sizes)) return gemm::conv2d_backward_input(a);
  const RunBlock<T> block = block_of(a.sizes, a.weight);
  fused_run_backward<T>(
      {.dx = {a.dx}, .saved = nullptr, .dy = {a.dy}, .x = {}, .blocks = &block, .count = 1, .N = a.sizes.N});
}

template <typename T>
void conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>& a) {
  if (!conv2d_is_direct<T>(a.sizes)) return gemm::conv2d_backward_weight(a);
  RunBlock<T> block = block_of<T>(a.sizes, nullptr);
  block.dweight = a.dweight;
  block.dbias = a.dbias;
  fused_run_backward<T>(
      {.dx = {}, .saved = nullptr, .dy = {a.dy}, .x = {a.x}, .blocks = &block, .count = 1, .N = a.sizes.N});
}

#define EK_INSTANTIATE(T)                                                 \
  template void conv2d_forward(const Conv2dForwardArgs<T>&);              \
  template void conv2d_backward_input(const Conv2dBackwardInputArgs<T>&); \
  template void conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>&);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cpu::EK_ISA
