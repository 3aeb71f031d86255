#include "evenkeel/kernels/relu.h"

#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/kernels/cpu/simd.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

template <typename T>
void forward_range(T* y, const T* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] < 0 ? T(0) : x[i];
}

template <typename T>
void backward_range(T* dx, const T* dy, const T* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) dx[i] = y[i] <= 0 ? T(0) : dy[i];
}

}  // namespace

template <typename T>
void relu_forward(const ReluForwardArgs<T>& a) {
  parallel_for_ranges(a.n, [&](std::int64_t begin, std::int64_t end) {
    forward_range(a.y + begin, a.x + begin, end - begin);
  });
}

template <typename T>
void relu_backward(const ReluBackwardArgs<T>& a) {
  parallel_for_ranges(a.n, [&](std::int64_t begin, std::int64_t end) {
    backward_range(a.dx + begin, a.dy + begin, a.y + begin, end - begin);
  });
}

template void relu_forward(const ReluForwardArgs<float>&);
template void relu_forward(const ReluForwardArgs<double>&);
template void relu_backward(const ReluBackwardArgs<float>&);
template void relu_backward(const ReluBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
