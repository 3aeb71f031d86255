// RMS normalization over the last axes.
#include <limits>

#include "check_norm.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/layers.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

struct RmsNormShape {
  Shape x;
  int axes;  // how many of the last ones are normalised
  const char* reason;
};
const RmsNormShape kRmsNormShapes[] = {
    {{1, 2}, 1, "minimal"},
    {{5}, 1, "one row and nothing else"},
    {{3, 1}, 1, "rows of one element: y = gamma times its sign, nearly"},
    {{4, 7}, 1, "rows shorter than a vector, odd"},
    {{17, 33}, 1, "one past a multiple of every vector width, both ways"},
    {{300, 3}, 1, "many short rows, which layer norm works on in lanes"},
    {{2, 3, 1025}, 1, "a row longer than a block of 1024 threads, by one"},
    {{2, 8, 5, 7}, 3, "over C, H and W"},
    {{2, 4, 768}, 1, "tokens of a transformer, in vectors of 16 bytes"},
    {{1, 16648}, 1, "a row longer than a block holds"},
};

NormCase rms_norm_case(const RmsNormShape& s) {
  Shape normalized;
  for (int axis = s.x.rank() - s.axes; axis < s.x.rank(); ++axis) normalized.push_back(s.x[axis]);
  return {.x = s.x,
          .parameter = normalized,
          .partition = reference::layer_norm_partition(sizes_of(s.x), s.axes),
          .op = [normalized](const Tensor& x, const Tensor& gamma,
                             const Tensor&) { return rms_norm(x, normalized, gamma, 1e-5); },
          .name = fmt::format("rms_norm over {}, {}", normalized.str(), s.reason),
          .centred = false};
}

}  // namespace

TEST_CASE("rms_norm agrees with the reference") {
  for (const auto& s : kRmsNormShapes) check_norm_against_reference(rms_norm_case(s));
}

TEST_CASE("rms_norm has the right gradients") {
  for (const auto& s : kRmsNormShapes) check_norm_gradients(rms_norm_case(s));
}

TEST_CASE("rms_norm takes views, gives only the gradients that are wanted, and does not depend on threads") {
  for (int axes : {1, 3}) {
    const NormCase c = rms_norm_case({{3, 6, 5, 4}, axes, "views"});
    check_norm_takes_views(c);
    check_norm_partial_gradients(c);
  }
  check_norm_threads(
      rms_norm_case({{37, 8, 24, 24}, 1, "rows, of a batch that threads cannot share evenly"}));
}

TEST_CASE("rms_norm's eps is by default the machine epsilon of x") {
  for_each_storage_kind([](TensorOptions options) {
    const double epsilon = options.dtype == DType::f64    ? std::numeric_limits<double>::epsilon()
                           : options.dtype == DType::f32  ? std::numeric_limits<float>::epsilon()
                           : options.dtype == DType::bf16 ? 0x1p-7
                                                          : 0x1p-10;
    const Tensor x = Random().normal({3, 8}, options, 0, 1e-3);
    CHECK(same_bits(rms_norm(x, {8}), rms_norm(x, {8}, {}, epsilon)));
  });
}

TEST_CASE("rms_norm of images without elements is empty, and their gradients are 0") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = leaf(zeros({0, 4}, options)), gamma = leaf(ones({4}, options));
    sum(rms_norm(x, {4}, gamma)).backward();
    CHECK(x.grad().shape() == Shape{0, 4});
    CHECK(same_bits(gamma.grad(), zeros({4}, options)));
  });
}

TEST_CASE("RMSNorm has a weight and no bias, as PyTorch's") {
  nn::RMSNorm norm({4});
  REQUIRE(norm.state_dict().size() == 1);
  CHECK(norm.state_dict()[0].first == "weight");
  CHECK(nn::RMSNorm({4}, {.affine = false}).state_dict().empty());
  const Tensor x = Random().normal({2, 3, 4}, {});
  CHECK(same_bits(norm(x), rms_norm(x, {4}, ones({4}))));
  CHECK(mentions(error_of([] { nn::RMSNorm({0}); }), {"RMSNorm", "[0]"}));
  CHECK(mentions(error_of([&] { rms_norm(x, {3}); }), {"rms_norm", "[3]", "[2, 3, 4]"}));
  CHECK(mentions(error_of([&] { rms_norm(x, {4}, ones({3})); }), {"rms_norm", "[3]", "[4]"}));
}
