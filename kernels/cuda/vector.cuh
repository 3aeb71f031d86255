// 16-byte loads and stores, and walks over dense arrays built on them.
#pragma once

#include <type_traits>

#include "evenkeel/kernels/cuda/simt.h"

namespace evenkeel::cuda {

/// The elements of T in 16 bytes.
template <typename T>
inline constexpr int kVector = static_cast<int>(16 / sizeof(T));

/// N neighbouring elements, loaded and stored as one, or 16 bytes at a time.
template <typename T, int N>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Vector {
  T at[N];
};

template <int N, typename T>
__device__ __forceinline__ Vector<T, N> load(const T* p) {
  return *reinterpret_cast<const Vector<T, N>*>(p);
}
template <int N, typename T>
__device__ __forceinline__ void store(T* p, const Vector<T, N>& v) {
  *reinterpret_cast<Vector<T, N>*>(p) = v;
}

/// True if every pointer is a multiple of 16 bytes; null is.
template <typename... Pointers>
bool are_aligned(const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

/// Blocks of `threads` that give each item a thread.
inline std::int64_t blocks_for(std::int64_t items, std::int64_t threads) {
  return (items + threads - 1) / threads;
}

/// The number of this thread in the grid.
__device__ __forceinline__ std::int64_t thread_number() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

inline constexpr int kMapThreads = 256;

/// y[i] = f(i, x[i]...) for i in [0, n): N elements a thread, and the last thread takes what remains.
/// Bytes: n * sizeof(T) for y and each x, once.
template <int N, typename T, typename F, typename... X>
__global__ void __launch_bounds__(kMapThreads) map_kernel(T* y, std::int64_t n, F f, const X*... x) {
  const std::int64_t i = thread_number() * N;
  if (i + N <= n) {
    const auto apply = [&](const auto&... in) {
      Vector<T, N> out;
      EK_UNROLL
      for (int k = 0; k < N; ++k) out.at[k] = f(i + k, in.at[k]...);
      store<N>(y + i, out);
    };
    apply(load<N>(x + i)...);
  } else {
    for (std::int64_t k = i; k < n; ++k) y[k] = f(k, x[k]...);
  }
}

/// Runs map_kernel over dense arrays of one element type, N elements a thread (16 bytes) if all are aligned.
/// `f` is a device function object: (i, x[i]...) -> y[i].
template <int N, typename T, typename F, typename... X>
void map_vectors(const char* name, T* y, std::int64_t n, F f, Stream stream, const X*... x) {
  static_assert((std::is_same_v<T, X> && ...), "vectors of one element type");
  if (are_aligned(y, x...)) {
    launch(name, map_kernel<N, T, F, X...>,
           {blocks_for(n, std::int64_t{N} * kMapThreads), kMapThreads, 0, stream}, y, n, f, x...);
  } else {
    launch(name, map_kernel<1, T, F, X...>, {blocks_for(n, kMapThreads), kMapThreads, 0, stream}, y, n, f,
           x...);
  }
}

template <typename T, typename F, typename... X>
void map(const char* name, T* y, std::int64_t n, F f, Stream stream, const X*... x) {
  map_vectors<kVector<T>>(name, y, n, f, stream, x...);
}

}  // namespace evenkeel::cuda
