// x weight^T + bias.
#include <cmath>

#include "compare.h"
#include "evenkeel/nn/functional.h"
#include "reference/simple.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

using Inputs = std::vector<Tensor>;

struct LinearCase {
  std::int64_t M, in, out;
  const char* reason;
};
const LinearCase kLinearCases[] = {
    {1, 1, 1, "minimal"},
    {1, 5, 3, "batch of one"},
    {7, 1, 4, "one input"},
    {7, 4, 1, "one output"},
    {17, 33, 9, "one past multiples of 16, 32 and 8"},
    {33, 7, 10, "33 rows"},
    {2, 1025, 3, "long sums"},
    {0, 3, 2, "no rows"},
};

std::string describe(const LinearCase& c) {
  return fmt::format("[{}, {}] to {}: {}", c.M, c.in, c.out, c.reason);
}

}  // namespace

TEST_CASE("linear agrees with the reference, forward and backward") {
  for_each_kind([](TensorOptions options) {
    for (const LinearCase& c : kLinearCases) {
      for (bool with_bias : {false, true}) {
        for (double mean : {0.0, 1000.0}) {
          INFO(describe(c) << "; bias " << with_bias << ", mean of x " << mean);
          Random random;
          Tensor x = leaf(random.normal({c.M, c.in}, options, mean, mean == 0 ? 1 : 0.01));
          Tensor weight = leaf(random.normal({c.out, c.in}, options)), bias;
          if (with_bias) bias = leaf(random.normal({c.out}, options));
          const Tensor dy = random.normal({c.M, c.out}, options);
          const Tensor y = linear(x, weight, bias);
          y.backward(dy);
          const Array vx = to_array(x), vw = to_array(weight), vdy = to_array(dy);
          const auto expected = reference::linear_backward(vdy, vx, vw);
          // Sums of n products with random signs have size sqrt(n), even where chance makes them small.
          const double tol = tolerance(options.dtype), size = std::max(mean, 1.0);
          const auto root = [](std::int64_t n) { return std::sqrt(static_cast<double>(n)); };
          CHECK(close(y, reference::linear(vx, vw, with_bias ? to_array(bias) : Array({c.out})), tol,
                      size * root(c.in)));
          CHECK(close(x.grad(), expected.dx, tol, root(c.out)));
          CHECK(close(weight.grad(), expected.dweight, tol, size * root(c.M)));
          if (with_bias) CHECK(close(bias.grad(), expected.dbias, tol, root(c.M)));
        }
      }
    }
  });
}

TEST_CASE("linear has the right gradients") {
  for_each_device([](TensorOptions options) {
    for (const LinearCase& c : kLinearCases) {
      INFO(describe(c));
      Random random;
      const Inputs inputs{leaf(random.normal({c.M, c.in}, options)),
                          leaf(random.normal({c.out, c.in}, options)), leaf(random.normal({c.out}, options))};
      CHECK(gradcheck([](const Inputs& in) { return linear(in[0], in[1], in[2]); }, inputs,
                      {.max_elements = 30}));
    }
  });
}

TEST_CASE("linear works on the last of any number of axes, and on views") {
  for_each_kind([](TensorOptions options) {
    Random random;
    const Tensor x = random.normal({2, 3, 4, 5}, options), weight = random.normal({6, 5}, options);
    const Tensor bias = random.normal({6}, options);
    const Array expected = to_array(linear(x.reshape({24, 5}), weight, bias).reshape({2, 3, 4, 6}));
    CHECK(close(linear(x, weight, bias), expected));
    CHECK(linear(x.reshape({120}).slice(0, 0, 5), weight, bias).shape() == Shape{6});
    CHECK(close(linear(with_gaps(x), transposed_in_memory(weight), with_gaps(bias)), expected));
    CHECK(close(linear(transposed_in_memory(x), with_gaps(weight), bias), expected));
  });
  for_each_device([](TensorOptions options) {
    const Tensor weight = leaf(Random(2).normal({3, 4}, options));
    const Inputs inputs{leaf(Random().normal({4, 2, 5}, options)), weight};
    CHECK(gradcheck([](const Inputs& in) { return linear(in[0].transpose(0, 2), in[1]); }, inputs));
  });
}

TEST_CASE("linear does not depend on the number of threads") {
  for_each_kind([](TensorOptions options) {
    check_independent_of_threads([&] {
      Random random;
      Tensor x = leaf(random.normal({257, 130}, options)), weight = leaf(random.normal({67, 130}, options));
      const Tensor y = linear(x, weight);
      y.backward(random.normal(y.shape(), options));
      return Inputs{y, x.grad(), weight.grad()};
    });
  });
}

TEST_CASE("linear refuses what does not fit") {
  const Tensor x = zeros({2, 5}), w = zeros({3, 5});
  CHECK(mentions(error_of([&] { linear(x, zeros({5, 3})); }), {"linear", "[2, 5]", "[5, 3]"}));
  CHECK(mentions(error_of([&] { linear(x, zeros({5})); }), {"linear", "[2, 5]", "[5]"}));
  CHECK(mentions(error_of([&] { linear(zeros({}), w); }), {"linear", "[]", "[3, 5]"}));
  CHECK(mentions(error_of([&] { linear(x, w, zeros({5})); }), {"linear", "[5]", "[3, 5]"}));
  CHECK(mentions(error_of([&] { linear(x, w.to(DType::f64)); }), {"linear", "f32", "f64"}));
}
