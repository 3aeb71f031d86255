// What samples say: intervals and exact tests. Distributions are Boost.Math's.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace evenkeel::app {

/// What a quantity can be at all: an accuracy in percent from 0 to 100.
struct Bounds {
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
};

/// Statistics of independent values. NaN are the mean of none, the deviation of fewer than 2, and the
/// interval of fewer than kLeastForInterval.
struct Summary {
  double mean = 0;
  double std = 0;            ///< sample standard deviation, with n-1
  double low = 0, high = 0;  ///< Student's 95 % interval of the mean, mean -+ t(0.975, n-1) std / sqrt(n),
                             ///< as far as it is inside the bounds
};
/// Two values give intervals 9 deviations long to either side, which say nothing.
constexpr std::size_t kLeastForInterval = 3;
Summary summarize(const std::vector<double>& values, Bounds bounds = {});

/// NaN if there is no value, or if one is NaN.
double median(std::vector<double> values);

/// Fisher's exact test of paired differences, two-sided: of the 2^n ways to give them signs, the fraction
/// whose |sum| is at least the observed one. Integers, so that equal sums are equal. 1 without differences.
double sign_flip_p(const std::vector<std::int64_t>& differences);

/// The smallest p that sign_flip_p can give for n pairs: 2 / 2^n, at most 1.
double smallest_sign_flip_p(int n);

/// The level of significance of all tests.
constexpr double kLevel = 0.05;
/// How many pairs it takes so that sign_flip_p can be below kLevel after Holm's adjustment for so many
/// comparisons.
int pairs_for_verdict(int comparisons);

/// McNemar's exact test, two-sided: that of two kinds of disagreement, equally likely, one occurs `a` and the
/// other `b` times. 1 without any.
double mcnemar_p(std::int64_t a, std::int64_t b);

/// Holm's adjustment (1979) of p-values that belong together, in their order: the k-th smallest of m, counted
/// from 0, times m-k, not below the ones before it, at most 1.
std::vector<double> holm(const std::vector<double>& p);

}  // namespace evenkeel::app
