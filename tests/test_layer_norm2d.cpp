// Layer normalization over the channels at each pixel.
#include "check_norm.h"
#include "evenkeel/nn/functional.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

struct LayerNorm2dShape {
  Shape x;
  const char* reason;
};
const LayerNorm2dShape kLayerNorm2dShapes[] = {
    {{1, 2, 1, 1}, "minimal"},
    {{2, 1, 3, 3}, "one channel: variance 0, y = beta"},
    {{3, 5, 1, 1}, "1x1 planes"},
    {{7, 3, 3, 5}, "7 images, fewer pixels than two vectors, odd"},
    {{17, 4, 1, 7}, "17 images, planes shorter than a vector"},
    {{1, 2, 33, 31}, "batch of one, many pixels, odd both ways"},
    {{2, 65, 3, 3}, "more channels than a warp has lanes twice over"},
    {{5, 6}, "no pixels at all: layer norm of the rows"},
    {{2, 4, 3, 2, 5}, "three spatial axes"},
    {{2, 10, 4, 4}, "the study's last"},
    {{2, 8, 24, 24}, "the study's second"},
};

NormCase layer_norm2d_case(const LayerNorm2dShape& s) {
  return {
      s.x,
      {s.x[1]},
      reference::layer_norm2d_partition(sizes_of(s.x)),
      [](const Tensor& x, const Tensor& gamma, const Tensor& beta) { return layer_norm2d(x, gamma, beta); },
      fmt::format("layer_norm2d, {}", s.reason)};
}

}  // namespace

TEST_CASE("layer_norm2d agrees with the reference") {
  for (const auto& s : kLayerNorm2dShapes) check_norm_against_reference(layer_norm2d_case(s));
}

TEST_CASE("layer_norm2d has the right gradients") {
  for (const auto& s : kLayerNorm2dShapes) check_norm_gradients(layer_norm2d_case(s));
}

TEST_CASE("layer_norm2d takes views, and gives only the gradients that are wanted") {
  const NormCase c = layer_norm2d_case({{3, 6, 5, 4}, "views"});
  check_norm_takes_views(c);
  check_norm_partial_gradients(c);
}

TEST_CASE("layer_norm2d does not depend on the number of threads") {
  check_norm_threads(layer_norm2d_case({{64, 8, 24, 24}, "the study's second, a full batch"}));
  check_norm_threads(layer_norm2d_case({{37, 10, 4, 4}, "a batch that threads cannot share evenly"}));
}

TEST_CASE("layer_norm2d has the right gradients where x is very small or very large") {
  NormCase c = layer_norm2d_case({{5, 4, 3, 3}, "scales"});
  c.op = [](const Tensor& x, const Tensor& gamma, const Tensor& beta) {
    return layer_norm2d(x, gamma, beta, 0);
  };
  check_norm_scales(c);
}

TEST_CASE("layer_norm2d uses eps") {
  NormCase c = layer_norm2d_case({{2, 4, 3, 3}, "eps 0.5"});
  c.eps = 0.5;
  c.op = [](const Tensor& x, const Tensor& gamma, const Tensor& beta) {
    return layer_norm2d(x, gamma, beta, 0.5);
  };
  check_norm_against_reference(c);
}

TEST_CASE("layer_norm2d is layer_norm with the channels moved to the end") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = Random().normal({3, 5, 2, 7}, options, 1, 4);
    const Tensor rows = layer_norm(x.permute({0, 2, 3, 1}), {5}).permute({0, 3, 1, 2});
    CHECK(close(layer_norm2d(x), to_array(rows)));
  });
}

TEST_CASE("layer_norm2d refuses what does not fit") {
  const Tensor x = zeros({2, 6, 3, 3});
  CHECK(mentions(error_of([&] { layer_norm2d(x, ones({3})); }), {"layer_norm2d", "[3]", "[2, 6, 3, 3]"}));
  CHECK(mentions(error_of([&] {
                   layer_norm2d(x, {}, ones({1, 6}));
                 }),
                 {"layer_norm2d", "[1, 6]", "[2, 6, 3, 3]"}));
  CHECK(
      mentions(error_of([&] { layer_norm2d(x, ones({6}, {DType::f64})); }), {"layer_norm2d", "f32", "f64"}));
  CHECK(mentions(error_of([] { layer_norm2d(zeros({4})); }), {"layer_norm2d", "[4]"}));
}
