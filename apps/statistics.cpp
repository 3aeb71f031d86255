#include "statistics.h"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <numeric>

namespace evenkeel::app {

Summary summarize(const std::vector<double>& values, Bounds bounds) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  if (values.empty()) return {kNaN, kNaN, kNaN, kNaN};
  const auto n = static_cast<double>(values.size());
  double shifted = 0;  // by the first value, so that equal ones have a deviation of exactly 0
  for (const double v : values) shifted += v - values.front();
  const double mean = values.front() + shifted / n;
  if (values.size() < 2) return {mean, kNaN, kNaN, kNaN};
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  const double std = std::sqrt(squares / (n - 1));
  if (values.size() < kLeastForInterval) return {mean, std, kNaN, kNaN};
  const double half = quantile(boost::math::students_t(n - 1), 0.975) * std / std::sqrt(n);
  const double low = mean - half, high = mean + half;  // written so that NaN stays
  return {mean, std, low < bounds.low ? bounds.low : low, high > bounds.high ? bounds.high : high};
}

double median(std::vector<double> values) {
  const bool has_nan = std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); });
  if (values.empty() || has_nan) return std::numeric_limits<double>::quiet_NaN();
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

double sign_flip_p(const std::vector<std::int64_t>& differences) {
  std::map<std::int64_t, double> ways = {{0, 1}};  // the probability of each sum
  for (const std::int64_t d : differences) {
    std::map<std::int64_t, double> next;
    for (const auto& [sum, probability] : ways) {
      next[sum + d] += probability / 2;
      next[sum - d] += probability / 2;
    }
    ways = std::move(next);
  }
  const std::int64_t observed =
      std::abs(std::accumulate(differences.begin(), differences.end(), std::int64_t{0}));
  double p = 0;
  for (const auto& [sum, probability] : ways) {
    if (std::abs(sum) >= observed) p += probability;
  }
  return std::min(p, 1.0);  // rounding
}

double smallest_sign_flip_p(int n) { return std::min(1.0, std::ldexp(2.0, -n)); }

int pairs_for_verdict(int comparisons) {
  int n = 1;
  while (!(comparisons * smallest_sign_flip_p(n) < kLevel)) ++n;
  return n;
}

double mcnemar_p(std::int64_t a, std::int64_t b) {
  if (a + b == 0) return 1;
  const boost::math::binomial of_chance(static_cast<double>(a + b), 0.5);
  return std::min(1.0, 2 * cdf(of_chance, static_cast<double>(std::min(a, b))));
}

std::vector<double> holm(const std::vector<double>& p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return p[i] < p[j]; });
  std::vector<double> adjusted(p.size());
  double before = 0;
  for (std::size_t k = 0; k < order.size(); ++k) {
    before = std::max(before, std::min(1.0, static_cast<double>(p.size() - k) * p[order[k]]));
    adjusted[order[k]] = before;
  }
  return adjusted;
}

}  // namespace evenkeel::app
