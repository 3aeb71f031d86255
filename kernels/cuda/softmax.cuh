// The softmax of a row: see kernels/softmax.h.
#pragma once

#include <cmath>

#include "evenkeel/kernels/cuda/reduce.cuh"

namespace evenkeel::cuda {

/// The log-softmax of a row x [D], x - largest - log(sum exp(x - largest)), by a warp. The sum is in f64, as
/// a row may be long.
template <typename T>
struct RowLogSoftmax {
  T largest, log_total;

  /// Call: all lanes of the warp.
  __device__ __forceinline__ RowLogSoftmax(const T* x, std::int64_t D) {
    largest = x[0];
    for (std::int64_t d = threadIdx.x % kWarp; d < D; d += kWarp) largest = max(largest, x[d]);
    largest = lane_max(largest);
    double total = 0;
    for (std::int64_t d = threadIdx.x % kWarp; d < D; d += kWarp)
      total += static_cast<double>(std::exp(x[d] - largest));
    log_total = static_cast<T>(log(lane_sum(total)));
  }
  __device__ __forceinline__ T at(T x) const { return x - largest - log_total; }
};

/// The first of a row's largest elements, or its first NaN.
template <typename T>
__device__ __forceinline__ std::int64_t largest_of_row(const T* x, std::int64_t D) {
  std::int64_t largest = 0;
  for (std::int64_t d = 1; d < D; ++d) {
    if (!(x[d] <= x[largest]) && x[largest] == x[largest]) largest = d;
  }
  return largest;
}

}  // namespace evenkeel::cuda
