// What samples say: intervals and exact tests. Distributions are Boost.Math's.
#pragma once

#include <cstdint>
#include <vector>

namespace evenkeel::app {

/// Of independent values. With one value std, low and high are NaN.
struct Summary {
  double mean = 0;
  double std = 0;            ///< sample standard deviation, with n-1
  double low = 0, high = 0;  ///< Student's 95 % interval of the mean: mean -+ t(0.975, n-1) std / sqrt(n)
};
Summary summarize(const std::vector<double>& values);

double median(std::vector<double> values);

/// Fisher's exact test of paired differences, two-sided: of the 2^n ways to give them signs, the fraction
/// whose |sum| is at least the observed one. Integers, so that equal sums are equal. 1 without differences.
double sign_flip_p(const std::vector<std::int64_t>& differences);

/// The smallest p that sign_flip_p can give for n pairs: 2 / 2^n, at most 1.
double smallest_sign_flip_p(int n);

/// McNemar's exact test, two-sided: that of two kinds of disagreement, equally likely, one occurs `a` and the
/// other `b` times. 1 without any.
double mcnemar_p(std::int64_t a, std::int64_t b);

/// Holm's adjustment (1979) of p-values that belong together, in their order: the k-th smallest of m, counted
/// from 0, times m-k, not below the ones before it, at most 1.
std::vector<double> holm(const std::vector<double>& p);

}  // namespace evenkeel::app
