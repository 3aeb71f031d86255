// What the normalizations share on the CPU: statistics of a dense run of elements, and the sums that their
// backward needs. All arithmetic on statistics is in f64, variance is centred and two-pass.
#pragma once

#include <cmath>

#include "kernels/cpu/simd.h"

namespace evenkeel::cpu::EK_ISA {

/// Mean, and sum of squared distances from it, of `count` elements.
struct Moments {
  double count = 0, mean = 0, m2 = 0;
};

/// The moments of all elements of n parts, which lie `stride` apart. Means are taken relative to that of the
/// first part and in two passes, so that the number of parts costs no digits.
inline Moments merged(const Moments* part, std::int64_t n, std::int64_t stride) {
  Moments all;
  const double pivot = part[0].mean;
  double offset = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    all.count += part[i * stride].count;
    offset += part[i * stride].count * (part[i * stride].mean - pivot);
  }
  offset /= all.count;
  for (std::int64_t i = 0; i < n; ++i) {
    const double d = (part[i * stride].mean - pivot) - offset;
    all.m2 += part[i * stride].m2 + part[i * stride].count * d * d;
  }
  all.mean = pivot + offset;
  return all;
}

/// The corrected two-pass algorithm (Chan, Golub and LeVeque, 1983): the sum of the deviations, which is the
/// rounding error of the first pass, takes that error out of mean and variance.
template <typename T>
EK_INLINE Moments moments(const T* x, std::int64_t n) {
  const double count = static_cast<double>(n);
  const double mean = lane_sum(n, [=](std::int64_t i) { return static_cast<double>(x[i]); }) / count;
  const double rest = lane_sum(n, [=](std::int64_t i) { return static_cast<double>(x[i]) - mean; });
  const double m2 = lane_sum(n, [=](std::int64_t i) {
    const double d = static_cast<double>(x[i]) - mean;
    return d * d;
  });
  return {count, mean + rest / count, m2 - rest * rest / count};
}

/// A mean in two parts, so that x - mean keeps its digits in T where the mean is far larger than the
/// deviation.
template <typename T>
struct SplitMean {
  T high, low;
  explicit SplitMean(double mean)
      : high(static_cast<T>(mean)), low(static_cast<T>(mean - static_cast<double>(high))) {}
  /// `high` as it was saved in T, and what rounding took from it.
  SplitMean(T saved, double rest) : high(saved), low(static_cast<T>(rest)) {}
  EK_INLINE T centre(T x) const { return (x - high) - low; }
};

/// Sums over elements that share a mean, which is known in T: of dy, of dy (x - mean), and of x - mean, from
/// which rest() recovers what rounding took from the mean.
struct GradientSums {
  double dy = 0, dy_x = 0, x = 0;

  void add(const GradientSums& other, double gamma = 1) {
    dy += gamma * other.dy;
    dy_x += gamma * other.dy_x;
    x += other.x;
  }
  double rest(double count) const { return x / count; }
  /// The sum of dy * xhat, xhat = (x - mean - rest) * rstd.
  double dy_xhat(double rest, double rstd) const { return (dy_x - rest * dy) * rstd; }
};

template <typename T>
EK_INLINE GradientSums gradient_sums(const T* dy, const T* x, std::int64_t n, T mean) {
  return {lane_sum(n, [=](std::int64_t i) { return static_cast<double>(dy[i]); }),
          lane_sum(n, [=](std::int64_t i) { return static_cast<double>(dy[i] * (x[i] - mean)); }),
          lane_sum(n, [=](std::int64_t i) { return static_cast<double>(x[i] - mean); })};
}

template <typename T>
Moments plane_moments(const T* x, std::int64_t n) {
  return moments(x, n);
}

template <typename T>
GradientSums plane_gradient_sums(const T* dy, const T* x, std::int64_t n, T mean) {
  return gradient_sums(dy, x, n, mean);
}

/// y = (x - mean) * scale + shift.
template <typename T>
void scale_plane(T* y, const T* x, std::int64_t n, SplitMean<T> mean, T scale, T shift, bool streamed) {
  write_all(y, n, streamed,
            [=](std::int64_t i) EK_INLINE_LAMBDA { return mean.centre(x[i]) * scale + shift; });
}

/// dx = scale * dy - (x - mean) * along_xhat - offset: the form of every normalization's input gradient.
template <typename T>
void gradient_plane(T* dx, const T* dy, const T* x, std::int64_t n, SplitMean<T> mean, T scale, T along_xhat,
                    T offset, bool streamed) {
  write_all(dx, n, streamed, [=](std::int64_t i) EK_INLINE_LAMBDA {
    return scale * dy[i] - mean.centre(x[i]) * along_xhat - offset;
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
