// Figures to compare with: SciPy 1.10 (t.ppf, binomtest), statsmodels' definition of Holm, and counting by hand.
#include "statistics.h"

#include <catch2/catch.hpp>
#include <cmath>

using namespace evenkeel::app;

namespace {

/// All 2^n signs, one by one.
double enumerated(const std::vector<std::int64_t>& differences) {
  const auto n = differences.size();
  std::int64_t observed = 0, as_far = 0;
  for (const std::int64_t d : differences) observed += d;
  for (std::size_t signs = 0; signs < std::size_t{1} << n; ++signs) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += (signs >> i & 1) != 0 ? differences[i] : -differences[i];
    as_far += std::abs(sum) >= std::abs(observed);
  }
  return static_cast<double>(as_far) / std::ldexp(1.0, static_cast<int>(n));
}

}  // namespace

TEST_CASE("mean, deviation and Student's interval") {
  const Summary s = summarize({99.42, 99.47, 99.39, 99.44});
  CHECK(s.mean == Approx(99.43).epsilon(1e-12));
  CHECK(s.std == Approx(0.03366501646120632).epsilon(1e-9));
  CHECK(s.high - s.mean == Approx(3.182446305284263 * s.std / 2).epsilon(1e-9));
  CHECK(s.mean - s.low == Approx(s.high - s.mean).epsilon(1e-9));
  const Summary one = summarize({5});
  CHECK(one.mean == 5);
  CHECK((std::isnan(one.std) && std::isnan(one.low) && std::isnan(one.high)));
  const Summary same = summarize(std::vector<double>(10, 9.8));
  CHECK((same.mean == 9.8 && same.std == 0 && same.low == 9.8 && same.high == 9.8));
}

TEST_CASE("median") {
  CHECK(median({3, 1, 2}) == 2);
  CHECK(median({4, 1, 2, 3}) == 2.5);
  CHECK(median({7}) == 7);
}

TEST_CASE("sign-flip test") {
  CHECK(sign_flip_p({}) == 1);
  CHECK(sign_flip_p({5}) == 1);
  CHECK(sign_flip_p({0, 0, 0}) == 1);
  CHECK(sign_flip_p({1, 2, 3}) == 0.25);
  CHECK(sign_flip_p({-1, -2, -3}) == 0.25);
  for (const auto& d : std::vector<std::vector<std::int64_t>>{
           {3, -1, 4, 1, -5, 9, 2, 6}, {1, 1, 1, 1, -1}, {7, 0, -7, 2}, {-3, 8, 8, 8, 8, 8, 8, 8, 8, 8, 1, 0}})
    CHECK(sign_flip_p(d) == enumerated(d));
  CHECK(sign_flip_p(std::vector<std::int64_t>(60, 4)) == smallest_sign_flip_p(60));
  CHECK(smallest_sign_flip_p(1) == 1);
  CHECK(smallest_sign_flip_p(10) == 2.0 / 1024);
}

TEST_CASE("McNemar's test") {
  CHECK(mcnemar_p(0, 0) == 1);
  CHECK(mcnemar_p(4, 4) == 1);
  CHECK(mcnemar_p(0, 6) == Approx(2.0 / 64).epsilon(1e-12));
  CHECK(mcnemar_p(6, 0) == mcnemar_p(0, 6));
  CHECK(mcnemar_p(1, 9) == Approx(2 * 11.0 / 1024).epsilon(1e-12));
  CHECK(mcnemar_p(45, 70) == Approx(0.024793536339643683).epsilon(1e-9));
}

TEST_CASE("Holm's adjustment") {
  CHECK(holm({}).empty());
  CHECK(holm({0.04}) == std::vector{0.04});
  const auto p = holm({0.04, 0.01, 0.03, 0.9});
  CHECK(p[0] == Approx(0.09));  // 0.04 x 2 = 0.08 is below 0.03 x 3
  CHECK(p[1] == Approx(0.04));
  CHECK(p[2] == Approx(0.09));
  CHECK(p[3] == Approx(0.9));
  CHECK(holm({0.5, 0.6}) == std::vector{1.0, 1.0});
}
