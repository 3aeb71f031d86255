// Normalization of many sets at once, one in each lane: the formulas of kernels/norm_math.h, in the
// arithmetic of T, with means in two parts.
#pragma once

#include <cmath>

#include "evenkeel/kernels/cpu/lanes.h"

namespace evenkeel::cpu::EK_ISA {

/// Mean in two parts and rstd of a set, in each image; moments have the sum of squared distances in place of
/// rstd. `lost` is what rounding took from the mean.
template <typename T>
struct UnitStatistics {
  Register<T> mean, lost, spread;
};

/// 1 / sqrt of each lane.
template <typename T>
EK_INLINE Register<T> reciprocal_root(const Register<T>& x) {
  T lane[kRegisterLanes<T>];
  std::memcpy(lane, &x, sizeof lane);
  for (T& l : lane) l = 1 / std::sqrt(l);
  Register<T> y;
  std::memcpy(&y, lane, sizeof y);
  return y;
}

/// The sums of each of f(0) .. f(n-1), N numbers at a time that f adds to its argument: four running sums,
/// which are added up after every 256 elements, so that rounding grows with the root of a short sum.
template <typename T, int N, typename F>
EK_INLINE void running_sums(Register<T> (&total)[N], std::int64_t n, F f) {
  constexpr std::int64_t kChunk = 256;
  for (auto& t : total) t = Register<T>{};
  for (std::int64_t begin = 0; begin < n; begin += kChunk) {
    const std::int64_t end = std::min(n, begin + kChunk);
    Register<T> sum[4][N] = {};
    std::int64_t i = begin;
    for (; i + 4 <= end; i += 4) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) f(sum[k], i + k);
    }
    for (; i < end; ++i) f(sum[0], i);
    for (int j = 0; j < N; ++j) total[j] += (sum[0][j] + sum[1][j]) + (sum[2][j] + sum[3][j]);
  }
}

/// The mean and the sum of squared distances from it of x(0) .. x(n-1), in each lane. The mean is rounded
/// first; what it lacks, and the squares, come from the distances to it, so that neither loses digits where
/// the mean is far larger than the deviation.
template <typename T, typename X>
EK_INLINE UnitStatistics<T> moments_of(std::int64_t n, X x) {
  const T count = static_cast<T>(n);
  Register<T> sum[1];
  running_sums<T>(sum, n, [=](Register<T>* s, std::int64_t i) EK_INLINE_LAMBDA { s[0] += x(i); });
  const Register<T> mean = sum[0] / count;
  Register<T> about[2];
  running_sums<T>(about, n, [=](Register<T>* s, std::int64_t i) EK_INLINE_LAMBDA {
    const Register<T> d = x(i) - mean;
    s[0] += d;
    s[1] += d * d;
  });
  const Register<T> lost = about[0] / count;
  return {mean, lost, about[1] - lost * about[0]};
}

/// rstd in place of the sum of squared distances.
template <typename T>
EK_INLINE UnitStatistics<T> with_rstd(UnitStatistics<T> m, std::int64_t n, double eps) {
  m.spread = reciprocal_root<T>(m.spread / static_cast<T>(n) + static_cast<T>(eps));
  return m;
}

/// xhat of a set as one multiply-add: (x - mean) rstd - lost rstd.
template <typename T>
struct Xhat {
  Register<T> mean, rstd, offset;
  EK_INLINE explicit Xhat(const UnitStatistics<T>& s)
      : mean(s.mean), rstd(s.spread), offset(-s.lost * s.spread) {}
  EK_INLINE Register<T> operator()(const Register<T>& x) const { return (x - mean) * rstd + offset; }
};

/// y of a channel as one multiply-add: (x - mean) gamma rstd + (beta - lost gamma rstd).
template <typename T>
struct ScaleAndShift {
  Register<T> mean, scale, shift;
  EK_INLINE ScaleAndShift(const UnitStatistics<T>& s, T gamma, T beta)
      : mean(s.mean), scale(s.spread * gamma), shift(beta - s.lost * scale) {}
  EK_INLINE Register<T> operator()(const Register<T>& x) const { return (x - mean) * scale + shift; }
};

}  // namespace evenkeel::cpu::EK_ISA
