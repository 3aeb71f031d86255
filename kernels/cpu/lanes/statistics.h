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

#define EK_OPERATOR(op)                                                      \
  EK_INLINE Doubles& operator op##=(const Doubles & other) {                 \
    for (int i = 0; i < kParts; ++i) part[i] op## = other.part[i];           \
    return *this;                                                            \
  }                                                                          \
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

/// Mean and biased variance of each image.
template <typename T>
struct LaneMoments {
  Doubles<T> mean, variance;
};

/// Of n vectors: moments() of norm_common.h, for each lane.
template <typename T>
EK_INLINE LaneMoments<T> lane_moments(const Vec<T>* x, std::int64_t n) {
  const double count = static_cast<double>(n);
  Doubles<T> sum, rest, squares;
  for (std::int64_t i = 0; i < n; ++i) sum += Doubles<T>(x[i]);
  const Doubles<T> mean = sum / count;
  for (std::int64_t i = 0; i < n; ++i) {
    const Doubles<T> d = Doubles<T>(x[i]) - mean;
    rest += d;
    squares += d * d;
  }
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
