// What the normalizations share on the GPU: moments, centring, and the sums of backward. All of it in T,
// which is f32 for f32 and 16-bit tensors: the digits come from subtracting a neighbour before adding.
#pragma once

#include <cmath>

#include "evenkeel/kernels/cuda/reduce.cuh"
#include "evenkeel/kernels/cuda/vector.cuh"
#include "evenkeel/kernels/half.h"
#include "evenkeel/kernels/norm_math.h"

namespace evenkeel::cuda {

template <typename T>
__device__ __forceinline__ T value_or(const T* p, std::int64_t i, T otherwise) {
  return p != nullptr ? p[i] : otherwise;
}

/// A sum of many terms by one thread, whose error does not grow with their number (Kahan, 1965).
template <typename T>
struct CompensatedSum {
  T sum = 0, lost = 0;

  __device__ __forceinline__ CompensatedSum& operator+=(T term) {
    const T wanted = term - lost, next = sum + wanted;
    lost = (next - sum) - wanted;
    sum = next;
    return *this;
  }
  __device__ __forceinline__ operator T() const { return sum; }
};

/// a + b without loss (Knuth's two-sum), as a mean of which b is a correction.
template <typename T>
__device__ __forceinline__ SplitMean<T> two_sum(T a, T b) {
  const T high = a + b, from_b = high - a;
  return {high, (a - (high - from_b)) + (b - from_b)};
}

/// Mean, and sum of squared distances from it.
template <typename T>
struct Moments {
  SplitMean<T> mean;
  T m2;

  __device__ __forceinline__ T rstd(const Count<T>& count, T eps) const {
    return rstd_of(m2 * count.inverse, eps);
  }
  __device__ __forceinline__ SetStatistics<T> statistics(const Count<T>& count, T eps) const {
    return {mean, rstd(count, eps)};
  }
};

/// The corrected two-pass algorithm (Chan, Golub and LeVeque, 1983) over the elements of a thread group.
/// for_each(f) calls f(x) for every element of this thread, the same each time. The first pass adds distances
/// from `pivot`, any of the elements: they are exact where the elements are close together. The second adds
/// distances from the rounded mean; their sum takes the first pass's error out of mean and variance.
/// A thread adds up its elements in a Sum. Not centred: the mean is 0, and the squares are about 0.
/// Call: all threads that threads.sum() needs. Result: in all of them.
template <typename Sum, typename T, typename Group, typename ForEach>
__device__ __forceinline__ Moments<T> moments(const Group& threads, const Count<T>& count, T pivot,
                                              const ForEach& for_each, bool centred = true) {
  Sum distances{};
  for_each([&](T x) { distances += x - pivot; });
  T sum = distances;
  threads.sum(sum);
  const T rounded = centred ? pivot + sum * count.inverse : T(0);
  Sum rests{}, squares{};
  for_each([&](T x) {
    const T d = x - rounded;
    rests += d;
    squares += d * d;
  });
  T rest = rests, m2 = squares;
  threads.sum(rest, m2);
  if (!centred) return {{0, 0}, m2};
  rest *= count.inverse;
  return {two_sum(rounded, rest), m2 - rest * rest * count.n};
}
template <typename T, typename Group, typename ForEach>
__device__ __forceinline__ Moments<T> moments(const Group& threads, const Count<T>& count, T pivot,
                                              const ForEach& for_each, bool centred = true) {
  return moments<T, T>(threads, count, pivot, for_each, centred);
}

/// What dx of a set is made of.
template <typename T>
struct InputGradient {
  SetStatistics<T> set;
  GradientMeans<T> means;

  /// From the sums of g = gamma dy over a set of `count` elements.
  __device__ __forceinline__ static InputGradient of(const GradientSums<T>& sums, const Count<T>& count,
                                                     T mean, T rstd, bool centred = true) {
    const GradientSums<T> g = centred ? sums : GradientSums<T>{0, sums.dy_x, 0};
    const T rest = g.rest(count);
    return {{{mean, rest}, rstd}, g.means(count, rest, rstd)};
  }
  __device__ __forceinline__ T at(T gamma, T dy, T x) const {
    return means.dx(gamma * dy, set.xhat(x), set.rstd);
  }
};

// --- the gradients of gamma and beta, from partial sums ----------------------------------------------------

/// Partial sums [K, 2, D] of dgamma and dbeta.
template <typename T>
struct ParameterPartials {
  T* sums;
  std::int64_t K, D;

  static std::int64_t bytes(std::int64_t K, std::int64_t D) {
    return 2 * K * D * static_cast<std::int64_t>(sizeof(T));
  }
  __device__ __forceinline__ T* dgamma(std::int64_t k) const { return sums + 2 * k * D; }
  __device__ __forceinline__ T* dbeta(std::int64_t k) const { return sums + (2 * k + 1) * D; }
};

inline constexpr int kFinalizeSlices = 16;

/// dgamma[d], dbeta[d] = the sums over k of the partials. Each block: 32 columns, in 16 slices of k that are
/// added in order. Bytes: 2 K D sizeof(T).
template <typename T>
__global__ void __launch_bounds__(kWarp* kFinalizeSlices)
    norm_finalize_parameters(T* dgamma, T* dbeta, ParameterPartials<T> p) {
  SIMT_SHARED(T, slices, [2][kFinalizeSlices][kWarp]);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, slice = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t d = static_cast<std::int64_t>(blockIdx.x) * kWarp + lane;
  T sum_gamma = 0, sum_beta = 0;
  if (d < p.D) {
    for (std::int64_t k = slice; k < p.K; k += kFinalizeSlices) {
      sum_gamma += p.dgamma(k)[d];
      sum_beta += p.dbeta(k)[d];
    }
  }
  slices[0][slice][lane] = sum_gamma;
  slices[1][slice][lane] = sum_beta;
  __syncthreads();
  if (slice > 1 || d >= p.D) return;
  T total = 0;
  for (int i = 0; i < kFinalizeSlices; ++i) total += slices[slice][i][lane];
  T* const out = slice == 0 ? dgamma : dbeta;
  if (out != nullptr) out[d] = total;
}

/// Adds the partials in a fixed order. Null outputs are skipped.
template <typename T>
void finalize_parameters(T* dgamma, T* dbeta, const ParameterPartials<T>& partials, Stream stream) {
  if (dgamma == nullptr && dbeta == nullptr) return;
  launch("norm_finalize_parameters", norm_finalize_parameters<T>,
         {blocks_for(partials.D, kWarp), kWarp * kFinalizeSlices, 0, stream}, dgamma, dbeta, partials);
}

}  // namespace evenkeel::cuda
