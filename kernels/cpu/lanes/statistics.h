// Statistics of the images of a block, one in each lane, in f64: what norm_common.h has for one run of
// elements.
#pragma once

#include <cmath>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/norm_common.h"

namespace evenkeel::cpu::lanes {

/// A double for each lane of a Vec<T>.
template <typename T>
struct Doubles {
  static constexpr int kParts = kLanes<T> / kLanes<double>;
  Vec<double> part[kParts] = {};

  Doubles() = default;
  /// All lanes `value`.
  EK_INLINE explicit Doubles(double value) {
    for (auto& p : part) p = Vec<double>{} + value;
  }
  /// Converts.
  EK_INLINE explicit Doubles(const Vec<T>& v) {
    if constexpr (kParts == 1) {
      part[0] = v;
    } else {
      HalfVec<T> half[2];
      std::memcpy(half, &v, sizeof v);
      for (int i = 0; i < 2; ++i) part[i] = __builtin_convertvector(half[i], Vec<double>);
    }
  }
  EK_INLINE Vec<T> rounded() const {
    if constexpr (kParts == 1) {
      return part[0];
    } else {
      HalfVec<T> half[2];
      for (int i = 0; i < 2; ++i) half[i] = __builtin_convertvector(part[i], HalfVec<T>);
      Vec<T> v;
      std::memcpy(&v, half, sizeof v);
      return v;
    }
  }
  /// The sum over the first `count` lanes.
  EK_INLINE double total(std::int64_t count) const {
    double sum = 0;
    for (int i = 0; i < kParts; ++i) {
      const std::int64_t lanes = std::min<std::int64_t>(kLanes<double>, count - i * kLanes<double>);
      if (lanes > 0) sum += sum_of_lanes<double>(part[i], lanes);
    }
    return sum;
  }

#define EK_OPERATOR(op)                                                                    \
  EK_INLINE Doubles& operator op##=(const Doubles& other) {                                \
    for (int i = 0; i < kParts; ++i) part[i] op## = other.part[i];                         \
    return *this;                                                                          \
  }                                                                                        \
  EK_INLINE friend Doubles operator op(Doubles a, const Doubles& b) { return a op## = b; } \
  EK_INLINE friend Doubles operator op(Doubles a, double b) { return a op## = Doubles(b); }
  EK_OPERATOR(+)
  EK_OPERATOR(-)
  EK_OPERATOR(*)
  EK_OPERATOR(/)
#undef EK_OPERATOR

  /// 1 / sqrt of each lane.
  EK_INLINE Doubles rsqrt() const {
    Doubles y;
    for (int i = 0; i < kParts; ++i) {
      for (int k = 0; k < kLanes<double>; ++k) y.part[i][k] = 1 / std::sqrt(part[i][k]);
    }
    return y;
  }
};

/// Calls f(vectors, index of the first, count) for pieces of n vectors x, as they are or as max(x, 0). In
/// pieces and not vector by vector, as the compiler has good code for comparisons in flat loops only.
template <typename T, typename F>
EK_INLINE void for_each_piece(const Vec<T>* x, std::int64_t n, bool relu, F f) {
  constexpr std::int64_t kPiece = 32;
  alignas(64) T rectified[kPiece * kLanes<T>];
  for (std::int64_t first = 0; first < n; first += kPiece) {
    const std::int64_t count = std::min(kPiece, n - first);
    if (relu) {
      const T* from = reinterpret_cast<const T*>(x + first);
      for (std::int64_t i = 0; i < count * kLanes<T>; ++i) rectified[i] = from[i] < 0 ? T(0) : from[i];
      f(as_lanes<T>(static_cast<const T*>(rectified)), first, count);
    } else {
      f(x + first, first, count);
    }
  }
}

/// Takes the gradient of max(x, 0) to that of x, in place.
template <typename T>
EK_INLINE void relu_gradient(Vec<T>* dx, const Vec<T>* x, std::int64_t n) {
  T* to = reinterpret_cast<T*>(dx);
  const T* from = reinterpret_cast<const T*>(x);
  for (std::int64_t i = 0; i < n * kLanes<T>; ++i) to[i] = from[i] > 0 ? to[i] : T(0);
}

/// Mean and biased variance of each image.
template <typename T>
struct LaneMoments {
  Doubles<T> mean, variance;
};

/// Of n vectors x, or max(x, 0): moments() of norm_common.h, for each lane.
template <typename T>
EK_INLINE LaneMoments<T> lane_moments(const Vec<T>* x, std::int64_t n, bool relu) {
  const double count = static_cast<double>(n);
  Doubles<T> sum, rest, squares;
  for_each_piece<T>(x, n, relu, [&](const Vec<T>* v, std::int64_t, std::int64_t m) EK_INLINE_LAMBDA {
    Doubles<T> total = sum;
    for (std::int64_t i = 0; i < m; ++i) total += Doubles<T>(v[i]);
    sum = total;
  });
  const Doubles<T> mean = sum / count;
  for_each_piece<T>(x, n, relu, [&](const Vec<T>* v, std::int64_t, std::int64_t m) EK_INLINE_LAMBDA {
    Doubles<T> distance = rest, square = squares;
    for (std::int64_t i = 0; i < m; ++i) {
      const Doubles<T> d = Doubles<T>(v[i]) - mean;
      distance += d;
      square += d * d;
    }
    rest = distance;
    squares = square;
  });
  rest = rest / count;
  return {mean + rest, squares / count - rest * rest};
}

/// A mean in two parts, as SplitMean.
template <typename T>
struct LaneSplitMean {
  Vec<T> high, low;
  EK_INLINE explicit LaneSplitMean(const Doubles<T>& mean)
      : high(mean.rounded()), low((mean - Doubles<T>(high)).rounded()) {}
  EK_INLINE LaneSplitMean(const Vec<T>& saved, const Doubles<T>& rest) : high(saved), low(rest.rounded()) {}
  EK_INLINE Vec<T> centre(const Vec<T>& x) const { return (x - high) - low; }
};

/// GradientSums for each lane.
template <typename T>
struct LaneGradientSums {
  Doubles<T> dy, dy_x, x;

  /// Takes in one element of each image: its gradient, and its distance from the saved mean.
  EK_INLINE void add(const Vec<T>& gradient, const Vec<T>& centred) {
    dy += Doubles<T>(gradient);
    dy_x += Doubles<T>(gradient * centred);
    x += Doubles<T>(centred);
  }
  EK_INLINE void add(const LaneGradientSums& other, double gamma) {
    dy += other.dy * gamma;
    dy_x += other.dy_x * gamma;
    x += other.x;
  }
  /// The sum of dy * xhat, as in GradientSums.
  EK_INLINE Doubles<T> dy_xhat(const Doubles<T>& rest, const Doubles<T>& rstd) const {
    return (dy_x - rest * dy) * rstd;
  }
};

}  // namespace evenkeel::cpu::lanes
