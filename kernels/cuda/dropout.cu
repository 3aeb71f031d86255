#include "evenkeel/kernels/dropout.h"

#include "evenkeel/kernels/cuda/vector.cuh"

namespace evenkeel::cuda {
namespace {

constexpr int kThreads = 256;

/// y[i] = u_i >= p ? x[i] scale : 0: a thread per Philox block, which is the numbers of four elements, so
/// that each is computed once. Bytes: 2 n sizeof(T).
template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    dropout_kernel(T* y, const T* x, RandomKey key, std::int64_t n, float p, T scale) {
  const std::int64_t block = thread_number(), i = 4 * block;
  if (i >= n) return;
  const auto bits = philox(key, static_cast<std::uint64_t>(block));
  if (N > 1 && i + 4 <= n) {
    EK_UNROLL
    for (int k = 0; k < 4; k += N) {
      Vector<T, N> v = load<N>(x + i + k);
      EK_UNROLL
      for (int j = 0; j < N; ++j) v.at[j] = unit_interval(bits[k + j]) >= p ? v.at[j] * scale : T(0);
      store<N>(y + i + k, v);
    }
  } else {
    EK_UNROLL
    for (int k = 0; k < 4; ++k) {
      if (i + k < n) y[i + k] = unit_interval(bits[k]) >= p ? x[i + k] * scale : T(0);
    }
  }
}

}  // namespace

template <typename T>
void dropout(const DropoutArgs<T>& a, Stream stream) {
  const auto kernel = are_aligned(a.x, a.y) ? dropout_kernel<T, kVector<T>> : dropout_kernel<T, 1>;
  launch("dropout", kernel, {blocks_for(a.n, 4 * kThreads), kThreads, 0, stream}, a.y, a.x, a.key, a.n,
         static_cast<float>(a.p), static_cast<T>(1 / (1 - a.p)));
}

template void dropout(const DropoutArgs<float>&, Stream);
template void dropout(const DropoutArgs<double>&, Stream);

}  // namespace evenkeel::cuda
