// What the normalizations share on the CPU: statistics of a dense run of elements, and the sums that their
// backward needs. All arithmetic on statistics is in f64.
#pragma once

#include <cmath>

#include "evenkeel/kernels/cpu/simd.h"

namespace evenkeel::cpu::EK_ISA {

/// Mean, and sum of squared distances from it, of `count` elements.
struct Moments {
  double count = 0, mean = 0, m2 = 0;
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
    all.m2 += part[i * stride].m2 + part[i * stride].count * d * d;
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
GradientSums plane_gradient_sums(const T* dy, const T* x, std::int64_t n, T mean) {
  return gradient_sums(dy, x, n, mean);
}

/// y = (x - mean) * scale + shift.
template <typename T>
void scale_plane(T* y, const T* x, std::int64_t n, SplitMean<T> mean, T scale, T shift, bool streamed) {
  write_all(y, n, streamed,
            [=](std::int64_t i) EK_INLINE_LAMBDA { return mean.centre(x[i]) * scale + shift; });
}

/// The coefficient of x - mean in dx, as one number, and unit 1; where T does not hold that number, the
/// square of a small or large rstd in it, as the coefficient of xhat, and unit rstd.
template <typename T>
struct AlongXhat {
  T unit = 1, coefficient;
  AlongXhat(T of_centred, T of_xhat, T rstd) : coefficient(of_centred) {
    if (of_xhat != 0 && !std::isnormal(of_centred)) unit = rstd, coefficient = of_xhat;
  }
};

/// dx = scale * dy - (x - mean) * along - offset: the form of every normalization's input gradient.
template <typename T>
void gradient_plane(T* dx, const T* dy, const T* x, std::int64_t n, SplitMean<T> mean, T scale,
                    AlongXhat<T> along, T offset, bool streamed) {
  if (along.unit == 1) {
    write_all(dx, n, streamed, [=](std::int64_t i) EK_INLINE_LAMBDA {
      return scale * dy[i] - mean.centre(x[i]) * along.coefficient - offset;
    });
  } else {
    write_all(dx, n, streamed, [=](std::int64_t i) EK_INLINE_LAMBDA {
      return scale * dy[i] - mean.centre(x[i]) * along.unit * along.coefficient - offset;
    });
  }
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
