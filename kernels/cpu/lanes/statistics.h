// Statistics of the images of a block, one in each lane, in f64: what norm_common.h has for one run of
// elements.
#pragma once

#include <cmath>
#include <iterator>
#include <limits>

#include "evenkeel/kernels/cpu/lanes.h"
#include "evenkeel/kernels/cpu/norm_common.h"

namespace evenkeel::cpu::EK_ISA::lanes {

/// A double for each lane of a Register<T>.
template <typename T>
struct Doubles {
  static constexpr int kLanesOfT = kRegisterLanes<T>;
  Register<double> half[sizeof(double) / sizeof(T)] = {};

  Doubles() = default;
  /// All lanes `value`.
  EK_INLINE explicit Doubles(double value) {
    for (auto& h : half) h = Register<double>{} + value;
  }
  /// Converts.
  EK_INLINE explicit Doubles(const Register<T>& r) {
    double lane[kLanesOfT];
    for (int l = 0; l < kLanesOfT; ++l) lane[l] = static_cast<double>(r[l]);
    std::memcpy(half, lane, sizeof half);
  }
  EK_INLINE Register<T> rounded() const {
    double lane[kLanesOfT];
    std::memcpy(lane, half, sizeof half);
    Register<T> r;
    for (int l = 0; l < kLanesOfT; ++l) r[l] = static_cast<T>(lane[l]);
    return r;
  }

#define EK_OPERATOR(op)                                                                    \
  EK_INLINE Doubles& operator op##=(const Doubles& other) {                                \
    for (std::size_t i = 0; i < std::size(half); ++i) half[i] op## = other.half[i];        \
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
    double lane[kLanesOfT];
    std::memcpy(lane, half, sizeof half);
    for (double& x : lane) x = 1 / std::sqrt(x);
    Doubles y;
    std::memcpy(y.half, lane, sizeof half);
    return y;
  }
};

/// A double for each lane of a vector, collected from its registers.
template <typename T>
struct LaneTotals {
  alignas(64) double lane[kLanes<T>];

  EK_INLINE void set(int part, const Doubles<T>& d) {
    std::memcpy(lane + part * kRegisterLanes<T>, d.half, sizeof d.half);
  }
  /// The sum of the first `count` lanes: of eight at a time pairwise, then of these.
  EK_INLINE double sum(std::int64_t count) const {
    double total = 0;
    for (int first = 0; first < count; first += kLanes<double>) {
      total += sum_of_lanes<double>(*as_lanes(lane + first),
                                    std::min<std::int64_t>(kLanes<double>, count - first));
    }
    return total;
  }
};

/// max(x, 0) where `relu`, else x.
template <typename T>
EK_INLINE Register<T> rectified(const Register<T>& x, bool relu) {
  return relu ? (x < 0 ? Register<T>{} : x) : x;
}

/// The gradient of x from that of rectified(x, relu).
template <typename T>
EK_INLINE Register<T> rectified_gradient(const Register<T>& dy, const Register<T>& x, bool relu) {
  return relu ? (x <= 0 ? Register<T>{} : dy) : dy;
}

/// Mean and biased variance of each image.
template <typename T>
struct LaneMoments {
  Doubles<T> mean, variance;
};

/// Of x(0) .. x(n-1): moments() of norm_common.h, for each lane.
template <typename T, typename F>
EK_INLINE LaneMoments<T> lane_moments(std::int64_t n, F x) {
  const Doubles<T> pivot = x(0);
  Doubles<T> sum, squares;
  for (std::int64_t i = 1; i < n; ++i) {
    const Doubles<T> d = x(i) - pivot;
    sum += d;
    squares += d * d;
  }
  const Doubles<T> offset = sum / static_cast<double>(n);
  return {pivot + offset, squares / static_cast<double>(n) - offset * offset};
}

/// Of n elements x, or max(x, 0).
template <typename T>
EK_INLINE LaneMoments<T> lane_moments(Column<const T> x, std::int64_t n, bool relu) {
  return lane_moments<T>(
      n, [=](std::int64_t i) EK_INLINE_LAMBDA { return Doubles<T>(rectified<T>(x[i], relu)); });
}

/// A mean in two parts, as SplitMean.
template <typename T>
struct LaneSplitMean {
  Register<T> high, low;
  EK_INLINE explicit LaneSplitMean(const Doubles<T>& mean)
      : high(mean.rounded()), low((mean - Doubles<T>(high)).rounded()) {}
  EK_INLINE LaneSplitMean(const Register<T>& saved, const Doubles<T>& rest)
      : high(saved), low(rest.rounded()) {}
  EK_INLINE Register<T> centre(const Register<T>& x) const { return (x - high) - low; }
};

/// AlongXhat for each lane.
template <typename T>
struct LaneAlongXhat {
  Register<T> unit, coefficient;
  bool has_units = false;  // other than 1
  EK_INLINE LaneAlongXhat(const Register<T>& of_centred, const Register<T>& of_xhat,
                          const Register<T>& rstd) {
    const Register<T> size = of_centred < 0 ? -of_centred : of_centred;
    const auto held = (size >= std::numeric_limits<T>::min()) & (size <= std::numeric_limits<T>::max());
    const auto apart = (of_xhat != 0) & ~held;
    unit = apart ? rstd : Register<T>{} + 1;
    coefficient = apart ? of_xhat : of_centred;
    for (int l = 0; l < kRegisterLanes<T>; ++l) has_units |= apart[l] != 0;
  }
};

/// GradientSums for each lane.
template <typename T>
struct LaneGradientSums {
  Doubles<T> dy, dy_x, x;

  /// Takes in one element of each image: its gradient, and its distance from the saved mean.
  EK_INLINE void add(const Register<T>& gradient, const Register<T>& centred) {
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

}  // namespace evenkeel::cpu::EK_ISA::lanes
