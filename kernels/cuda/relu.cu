#include "evenkeel/kernels/relu.h"

#include "evenkeel/kernels/cuda/vector.cuh"

namespace evenkeel::cuda {
namespace {

template <typename T>
struct Forward {
  __device__ T operator()(std::int64_t, T x) const { return x < T(0) ? T(0) : x; }
};

template <typename T>
struct Backward {
  __device__ T operator()(std::int64_t, T dy, T y) const { return y <= T(0) ? T(0) : dy; }
};

}  // namespace

/// y = max(x, 0), n elements. Bytes: 2 n sizeof(T).
template <typename T>
void relu_forward(const ReluForwardArgs<T>& a, Stream stream) {
  map("relu_forward", a.y, a.n, Forward<T>{}, stream, a.x);
}

/// dx = 0 where y <= 0, dy elsewhere, n elements. Bytes: 3 n sizeof(T).
template <typename T>
void relu_backward(const ReluBackwardArgs<T>& a, Stream stream) {
  map("relu_backward", a.dx, a.n, Backward<T>{}, stream, a.dy, a.y);
}

#define EK_INSTANTIATE(T)                                        \
  template void relu_forward(const ReluForwardArgs<T>&, Stream); \
  template void relu_backward(const ReluBackwardArgs<T>&, Stream);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
EK_INSTANTIATE(bf16)
EK_INSTANTIATE(f16)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cuda
