// The formulas of normalization, for the CPU and for CUDA devices: statistics of a set of elements, y from x,
// and dx from its sums. A kernel says which elements are a set and how memory is walked; what is computed is
// said here. V is f32 or f64; xhat, y and dx can also be of vector registers, lane by lane.
//
// With mean and rstd = 1 / sqrt(biased variance + eps) of a set, xhat = (x - mean) rstd and g = gamma dy:
//   y = gamma xhat + beta,   dx = rstd (g - mean(g) - xhat mean(g xhat))
// (Ioffe and Szegedy, 2015, section 3; Ba, Kiros and Hinton, 2016).
#pragma once

#include <cmath>

#include "evenkeel/kernels/common.h"

namespace evenkeel {

/// The number of elements of a set, and one over it: a division costs registers where a kernel has the
/// fewest.
template <typename V>
struct Count {
  V n, inverse;

  EK_FORMULA explicit Count(std::int64_t count)
      : n(static_cast<V>(count)), inverse(V(1) / static_cast<V>(count)) {}
};

/// 1 / sqrt(variance + eps).
template <typename V>
EK_FORMULA V rstd_of(V variance, V eps) {
  return V(1) / std::sqrt(variance + eps);
}

/// The sum of squared distances of n elements from a point that is d away from their mean, m2 the sum of
/// those from the mean. So moments of sets are merged: the point is the mean of all (Chan, Golub and LeVeque,
/// 1979).
template <typename V>
EK_FORMULA V squares_about(V m2, V n, V d) {
  return m2 + n * d * d;
}

/// A mean in two parts, so that x - mean keeps its digits where the mean is far larger than the deviation.
/// `high` is the mean rounded to V, as it is saved; `low` is what rounding took from it.
template <typename V>
struct SplitMean {
  V high, low;

  EK_FORMULA V centre(V x) const { return (x - high) - low; }
};

template <typename V>
struct SetStatistics {
  SplitMean<V> mean;
  V rstd;

  EK_FORMULA V xhat(V x) const { return mean.centre(x) * rstd; }
};

/// y.
template <typename V>
EK_FORMULA V scaled_and_shifted(V xhat, V gamma, V beta) {
  return xhat * gamma + beta;
}

/// What dx takes from all elements of a set: the means of g and of g xhat.
template <typename V>
struct GradientMeans {
  V g, g_xhat;

  /// `g_here` and `xhat` are those of the element.
  EK_FORMULA V dx(V g_here, V xhat, V rstd) const { return rstd * (g_here - g - xhat * g_xhat); }
};

/// Sums over elements that share a mean, which is known as it was saved: of dy, of dy (x - mean), and of x -
/// mean, from which rest() recovers what rounding took from the mean. Where it says so, the sums are those of
/// g = gamma dy instead of dy.
template <typename V>
struct GradientSums {
  V dy = 0, dy_x = 0, x = 0;

  EK_FORMULA void add(V dy_here, V centred) {
    dy += dy_here;
    dy_x += dy_here * centred;
    x += centred;
  }
  /// `other` is of dy, and this is of g.
  EK_FORMULA void add(const GradientSums& other, V gamma = 1) {
    dy += gamma * other.dy;
    dy_x += gamma * other.dy_x;
    x += other.x;
  }
  EK_FORMULA V rest(const Count<V>& count) const { return count.n > 0 ? x * count.inverse : V(0); }
  /// The sum of dy xhat, xhat = (x - mean - rest) rstd.
  EK_FORMULA V dy_xhat(V rest, V rstd) const { return (dy_x - rest * dy) * rstd; }
  /// Where the sums are of g.
  EK_FORMULA GradientMeans<V> means(const Count<V>& count, V rest, V rstd) const {
    return {dy * count.inverse, dy_xhat(rest, rstd) * count.inverse};
  }
};

/// A running statistic after a batch. The difference of the two would lose the digits of the smaller one.
template <typename V>
EK_FORMULA V moved_average(V running, V batch, V momentum) {
  return (V(1) - momentum) * running + momentum * batch;
}

}  // namespace evenkeel
