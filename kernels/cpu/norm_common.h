// What the normalizations share on the CPU: statistics of a dense run of elements, and the sums that their
// backward needs. All arithmetic on statistics is in f64.
#pragma once

#include <cmath>

#include "evenkeel/kernels/cpu/simd.h"
#include "evenkeel/kernels/norm_math.h"

namespace evenkeel::cpu::EK_ISA {

/// Mean, and sum of squared distances from it, of `count` elements.
struct Moments {
  double count = 0, mean = 0, m2 = 0;

  double variance() const { return m2 / count; }
};

/// The number from which distances are taken: from infinity or NaN there are none.
inline double pivot_at(double x) { return x - x == 0 ? x : 0; }

/// The moments of all elements of n parts, which lie `stride` apart. Means are taken relative to that of the
/// first part and in two passes, so that the number of parts costs no digits.
inline Moments merged(const Moments* part, std::int64_t n, std::int64_t stride) {
  Moments all;
  const double pivot = pivot_at(part[0].mean);
  double offset = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    all.count += part[i * stride].count;
    offset += part[i * stride].count * (part[i * stride].mean - pivot);
  }
  offset /= all.count;
  for (std::int64_t i = 0; i < n; ++i) {
    const double d = (part[i * stride].mean - pivot) - offset;
    all.m2 += squares_about(part[i * stride].m2, part[i * stride].count, d);
  }
  all.mean = pivot + offset;
  return all;
}

/// The moments of `count` numbers from the sums of d and d^2, where d is their distance from one of them, the
/// pivot. Since (pivot - mean)^2 <= count * variance, the difference below cancels at most log2(count) of the
/// 53 bits of f64, and next to none where the pivot is no outlier. (Chan, Golub and LeVeque, 1983: shifted
/// data.)
inline Moments shifted_moments(double count, double pivot, double sum, double squares) {
  return {count, pivot + sum / count, squares - sum * sum / count};
}

/// The moments of n elements, in one pass.
template <typename T>
EK_INLINE Moments moments(const T* x, std::int64_t n) {
  const double pivot = pivot_at(x[0]);
  const auto distance = [=](std::int64_t i) EK_INLINE_LAMBDA { return static_cast<double>(x[i]) - pivot; };
  const auto [sum, squares] =
      lane_sums(n, distance, [=](std::int64_t i) EK_INLINE_LAMBDA { return distance(i) * distance(i); });
  return shifted_moments(static_cast<double>(n), pivot, sum, squares);
}

/// A mean in f64 as kernels take it.
template <typename T>
EK_INLINE SplitMean<T> split(double mean) {
  const T high = static_cast<T>(mean);
  return {high, static_cast<T>(mean - static_cast<double>(high))};
}

/// The means of backward of one set, rounded to T.
template <typename T>
EK_INLINE GradientMeans<T> rounded(const GradientMeans<double>& means) {
  return {static_cast<T>(means.g), static_cast<T>(means.g_xhat)};
}

template <typename T>
EK_INLINE GradientSums<double> gradient_sums(const T* dy, const T* x, std::int64_t n, T mean) {
  const auto [sum_dy, sum_dy_x, sum_x] = lane_sums(
      n, [=](std::int64_t i) EK_INLINE_LAMBDA { return static_cast<double>(dy[i]); },
      [=](std::int64_t i) EK_INLINE_LAMBDA { return static_cast<double>(dy[i] * (x[i] - mean)); },
      [=](std::int64_t i) EK_INLINE_LAMBDA { return static_cast<double>(x[i] - mean); });
  return {sum_dy, sum_dy_x, sum_x};
}

template <typename T>
Moments plane_moments(const T* x, std::int64_t n) {
  return moments(x, n);
}

template <typename T>
GradientSums<double> plane_gradient_sums(const T* dy, const T* x, std::int64_t n, T mean) {
  return gradient_sums(dy, x, n, mean);
}

/// y of n elements of one set that share gamma and beta.
template <typename T>
void normalize_plane(T* y, const T* x, std::int64_t n, SetStatistics<T> set, T gamma, T beta, bool streamed) {
  write_all(y, n, streamed,
            [=](std::int64_t i) EK_INLINE_LAMBDA { return scaled_and_shifted(set.xhat(x[i]), gamma, beta); });
}

/// dx of n elements of one set that share gamma.
template <typename T>
void gradient_plane(T* dx, const T* dy, const T* x, std::int64_t n, SetStatistics<T> set, T gamma,
                    GradientMeans<T> means, bool streamed) {
  write_all(dx, n, streamed, [=](std::int64_t i) EK_INLINE_LAMBDA {
    return means.dx(gamma * dy[i], set.xhat(x[i]), set.rstd);
  });
}

/// The gradients of the affine parameters of a channel, from one plane or several.
struct AffineGradients {
  double dgamma = 0, dbeta = 0;
};

/// dgamma[c] and dbeta[c] from those of each plane [N, C], added in the order of n. Null outputs are skipped.
template <typename T>
void sum_affine_gradients(T* dgamma, T* dbeta, const AffineGradients* planes, std::int64_t N,
                          std::int64_t C) {
  for (std::int64_t c = 0; c < C; ++c) {
    AffineGradients total;
    for (std::int64_t n = 0; n < N; ++n) {
      total.dgamma += planes[n * C + c].dgamma;
      total.dbeta += planes[n * C + c].dbeta;
    }
    if (dgamma != nullptr) dgamma[c] = static_cast<T>(total.dgamma);
    if (dbeta != nullptr) dbeta[c] = static_cast<T>(total.dbeta);
  }
}

}  // namespace evenkeel::cpu::EK_ISA
