// Figures to compare with: SciPy 1.10 (t.ppf, binomtest), statsmodels' definition of Holm, and counting by
// hand.
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

TEST_CASE("too few values have no interval") {
  CHECK(std::isnan(summarize({}).mean));
  const Summary two = summarize({60, 80});
  CHECK(two.mean == 70);
  CHECK(two.std == Approx(14.142135623730951).epsilon(1e-12));
  CHECK((std::isnan(two.low) && std::isnan(two.high)));
  CHECK(std::isfinite(summarize({60, 80, 70}).low));
}

TEST_CASE("an interval stays inside what is possible") {
  const Summary s = summarize({99, 80, 100}, {0, 100});
  CHECK(s.low == Approx(93 - 4.302652729911275 * 11.269427669584644 / std::sqrt(3)).epsilon(1e-9));
  CHECK(s.high == 100);
  const Summary low = summarize({0.001, 0.2, 0.01}, {.low = 0});
  CHECK(low.low == 0);
  CHECK(low.high > 0.2);
  CHECK(summarize({0, 100, 0}, {0, 100}).low == 0);
  CHECK(summarize({0, 100, 0}).low < 0);
}

TEST_CASE("the pairs that a verdict takes") {
  CHECK(pairs_for_verdict(0) == 1);
  CHECK(pairs_for_verdict(1) == 6);  // 2 / 64
  CHECK(pairs_for_verdict(6) == 8);  // 12 / 256
  CHECK(pairs_for_verdict(15) == 10);
}

TEST_CASE("median") {
  CHECK(std::isnan(median({})));
  CHECK(std::isnan(median({1, NAN, 2})));
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
  for (const auto& d : std::vector<std::vector<std::int64_t>>{{3, -1, 4, 1, -5, 9, 2, 6},
                                                              {1, 1, 1, 1, -1},
                                                              {7, 0, -7, 2},
                                                              {-3, 8, 8, 8, 8, 8, 8, 8, 8, 8, 1, 0}})
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
