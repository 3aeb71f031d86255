// max(x, 0).
#include <cmath>
#include <limits>

#include "compare.h"
#include "evenkeel/nn/functional.h"
#include "reference/simple.h"

using namespace evenkeel;
using namespace evenkeel::test;

TEST_CASE("relu agrees with the reference, forward and backward") {
  // One element, odd sizes, one past a block of 16384, no elements.
  for (const Shape& shape :
       {Shape{}, Shape{1}, Shape{7}, Shape{17, 33}, Shape{2, 3, 5, 7}, Shape{16385}, Shape{0, 4}}) {
    for_each_storage_kind([&](TensorOptions options) {
      INFO(shape.str());
      Random random;
      Tensor x = leaf(random.normal(shape, options));
      const Tensor dy = random.normal(shape, options);
      const Tensor y = relu(x);
      y.backward(dy);
      CHECK(close(y, reference::relu(to_array(x)), 0));
      CHECK(close(x.grad(), reference::relu_backward(to_array(dy), to_array(x)), 0));
      if (shape.rank() == 4) {
        CHECK(same_bits(relu(with_gaps(x)), y));
        Tensor again = leaf(x);
        relu(transposed_in_memory(again)).backward(transposed_in_memory(dy));
        CHECK(same_bits(again.grad(), x.grad()));
      }
    });
  }
}

TEST_CASE("relu has the right gradient") {
  for_each_device([](TensorOptions options) {
    const Tensor x = leaf(Random().normal({5, 7}, options));  // no element within 1e-6 of the kink
    CHECK(gradcheck([](const std::vector<Tensor>& in) { return relu(in[0]); }, {x}));
  });
}

TEST_CASE("relu at zero, infinity and NaN") {
  for_each_storage_kind([](TensorOptions options) {
    const double inf = std::numeric_limits<double>::infinity(),
                 nan = std::numeric_limits<double>::quiet_NaN();
    Tensor x =
        leaf(from_vector<double>({-0.0, 0.0, inf, -inf, nan}, {5}).to(options.dtype).to(options.device));
    const Tensor y = relu(x);
    const std::vector<double> values = y.to_vector<double>();
    CHECK(values[0] == 0);
    CHECK(values[1] == 0);
    CHECK(values[2] == inf);
    CHECK(values[3] == 0);
    CHECK(std::isnan(values[4]));
    y.backward(ones({5}, options));
    CHECK(x.grad().to_vector<double>() == std::vector<double>{0, 0, 1, 0, 1});  // NaN hides no gradient
  });
}

TEST_CASE("relu refuses integers, and 16 bits on the CPU") {
  CHECK(mentions(error_of([] { relu(zeros({2}, {DType::i64})); }), {"relu", "floating", "i64"}));
  CHECK(error_of([] { relu(zeros({2}, {DType::f16})); }) ==
        "relu: f16 is computed on CUDA devices only; convert with to(DType::f32)");
}
