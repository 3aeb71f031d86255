// Inverted dropout.
#include <cmath>
#include <limits>

#include "compare.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/functional.h"
#include "reference/simple.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

constexpr RandomKey kKey{3, RandomPurpose::dropout, 5};

/// 1 where number i of the key is at least p.
Array mask_of(const Shape& shape, double p, TensorOptions options) {
  Array mask = to_array(uniform(shape, 0, 1, kKey, options));
  for (double& u : mask.values) u = u >= p ? 1 : 0;
  return mask;
}

}  // namespace

TEST_CASE("dropout agrees with the reference, forward and backward") {
  // One element, sizes that end inside a block of four random numbers, one past a block of 16384, no
  // elements.
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{7}, Shape{2, 3, 5, 7}, Shape{16385}, Shape{0, 3}}) {
    for (double p : {0.0, 0.1, 0.5, 0.999}) {
      for_each_kind([&](TensorOptions options) {
        INFO(shape.str() << ", p " << p);
        Random random;
        Tensor x = leaf(random.normal(shape, options));
        const Tensor dy = random.normal(shape, options);
        const Tensor y = dropout(x, p, kKey);
        y.backward(dy);
        const Array mask = mask_of(shape, p, options);
        CHECK(close(y, reference::dropout(to_array(x), mask, p)));
        CHECK(close(x.grad(), reference::dropout(to_array(dy), mask, p)));
        if (shape.rank() == 4) CHECK(same_bits(dropout(with_gaps(x), p, kKey), y));
      });
    }
  }
}

TEST_CASE("dropout has the right gradient") {
  for_each_device([](TensorOptions options) {
    const Tensor x = leaf(Random().normal({5, 7}, options));
    CHECK(gradcheck([](const std::vector<Tensor>& in) { return dropout(in[0], 0.3, kKey); }, {x}));
  });
}

TEST_CASE("dropout keeps 1 - p of the elements and the mean") {
  for_each_kind([](TensorOptions options) {
    constexpr std::int64_t n = 100000;
    for (double p : {0.1, 0.5, 0.9}) {
      const Tensor y = dropout(ones({n}, options), p, kKey);
      const double kept = static_cast<double>(n) - sum(equal(y, zeros({1}, options))).item();
      const double five = 5 * std::sqrt(p * (1 - p) / n);
      CHECK(std::abs(kept / n - (1 - p)) < five);
      CHECK(std::abs(mean(y).item() - 1) < five / (1 - p));
    }
  });
}

TEST_CASE("the mask is a function of the key") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = ones({1000}, options);
    CHECK(same_bits(dropout(x, 0.5, kKey), dropout(x, 0.5, kKey)));
    CHECK_FALSE(same_bits(dropout(x, 0.5, kKey), dropout(x, 0.5, {3, RandomPurpose::dropout, 6})));
    CHECK_FALSE(same_bits(dropout(x, 0.5, kKey), dropout(x, 0.5, {4, RandomPurpose::dropout, 5})));
    check_independent_of_threads(
        [&] { return std::vector{dropout(Random().normal({100003}, options), 0.1, kKey)}; });
  });
}

TEST_CASE("what is dropped is zero, even where it was not finite") {
  for_each_kind([](TensorOptions options) {
    const Array mask = mask_of({100}, 0.5, options);
    const Array y =
        to_array(dropout(full({100}, std::numeric_limits<double>::infinity(), options), 0.5, kKey));
    for (int i = 0; i < 100; ++i) CHECK(std::isinf(y(i)) == (mask(i) == 1));
    for (int i = 0; i < 100; ++i) CHECK_FALSE(std::isnan(y(i)));
  });
}

TEST_CASE("dropout refuses impossible probabilities") {
  const Tensor x = zeros({2, 3});
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (double p : {-0.1, 1.0, 1.5, nan}) {
    INFO(p);
    CHECK(mentions(error_of([&] { dropout(x, p, kKey); }), {"dropout", "p is"}));
  }
  CHECK(mentions(error_of([&] {
                   dropout(x, 0.5, {1, RandomPurpose::dropout, 1ull << 32});
                 }),
                 {"dropout", "stream"}));
  CHECK(mentions(error_of([&] { dropout(zeros({2}, {DType::i64}), 0.5, kKey); }), {"floating", "i64"}));
}
