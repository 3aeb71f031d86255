// Layer normalization over the last axes.
#include "check_norm.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/functional.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

struct LayerNormShape {
  Shape x;
  int axes;  // how many of the last ones are normalised
  const char* reason;
};
const LayerNormShape kLayerNormShapes[] = {
    {{1, 2}, 1, "minimal"},
    {{5}, 1, "one row and nothing else"},
    {{3, 1}, 1, "rows of one element: variance 0, y = beta"},
    {{4, 7}, 1, "rows shorter than a vector, odd"},
    {{17, 33}, 1, "one past a multiple of every vector width, both ways"},
    {{2, 3, 1025}, 1, "a row longer than a block of 1024 threads, by one"},
    {{1, 4099}, 1, "a single long row"},
    {{300, 3}, 1, "many short rows"},
    {{2, 4, 26, 6}, 1, "over W only, without C and H"},
    {{2, 8, 5, 7}, 3, "over C, H and W"},
    {{7, 10, 4, 4}, 3, "the study's last"},
    {{2, 3, 4}, 3, "everything is one row"},
};

NormCase layer_norm_case(const LayerNormShape& s) {
  Shape normalized;
  for (int axis = s.x.rank() - s.axes; axis < s.x.rank(); ++axis) normalized.push_back(s.x[axis]);
  return {s.x, normalized, reference::layer_norm_partition(sizes_of(s.x), s.axes),
          [normalized](const Tensor& x, const Tensor& gamma, const Tensor& beta) {
            return layer_norm(x, normalized, gamma, beta);
          },
          fmt::format("layer_norm over {}, {}", normalized.str(), s.reason)};
}

}  // namespace

TEST_CASE("layer_norm agrees with the reference") {
  for (const auto& s : kLayerNormShapes) check_norm_against_reference(layer_norm_case(s));
}

TEST_CASE("layer_norm has the right gradients") {
  for (const auto& s : kLayerNormShapes) check_norm_gradients(layer_norm_case(s));
}

TEST_CASE("layer_norm takes views, and gives only the gradients that are wanted") {
  for (int axes : {1, 3}) {
    const NormCase c = layer_norm_case({{3, 6, 5, 4}, axes, "views"});
    check_norm_takes_views(c);
    check_norm_partial_gradients(c);
  }
}

TEST_CASE("layer_norm does not depend on the number of threads") {
  check_norm_threads(layer_norm_case({{64, 8, 24, 24}, 3, "the study's second, a full batch"}));
  check_norm_threads(
      layer_norm_case({{37, 8, 24, 24}, 1, "rows, of a batch that threads cannot share evenly"}));
}

TEST_CASE("layer_norm has the right gradients where x is very small or very large") {
  NormCase c = layer_norm_case({{5, 27}, 1, "scales"});
  c.op = [](const Tensor& x, const Tensor& gamma, const Tensor& beta) {
    return layer_norm(x, {27}, gamma, beta, 0);
  };
  check_norm_scales(c);
}

TEST_CASE("layer_norm uses eps") {
  NormCase c = layer_norm_case({{3, 8}, 1, "eps 0.5"});
  c.eps = 0.5;
  c.op = [](const Tensor& x, const Tensor& gamma, const Tensor& beta) {
    return layer_norm(x, {8}, gamma, beta, 0.5);
  };
  check_norm_against_reference(c);
}

TEST_CASE("rows have mean 0, so that the mean of a plane of them has too") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = Random().normal({2, 3, 4, 4}, options, 5, 3);
    CHECK(max(abs(mean(layer_norm(x, {4}), {2, 3}))).item() < 8 * unit_roundoff(options.dtype));
  });
}

TEST_CASE("layer_norm refuses what does not fit") {
  const Tensor x = zeros({2, 6, 3});
  CHECK(mentions(error_of([&] { layer_norm(x, {6}); }), {"layer_norm", "[6]", "[2, 6, 3]"}));
  CHECK(mentions(error_of([&] { layer_norm(x, {2, 6}); }), {"layer_norm", "[2, 6]", "[2, 6, 3]"}));
  CHECK(mentions(error_of([&] {
                   layer_norm(x, {1, 2, 6, 3});
                 }),
                 {"layer_norm", "[1, 2, 6, 3]", "[2, 6, 3]"}));
  CHECK(mentions(error_of([&] { layer_norm(x, {}); }), {"layer_norm", "[]", "[2, 6, 3]"}));
  CHECK(mentions(error_of([&] { layer_norm(x, {6, 3}, ones({3})); }), {"layer_norm", "[3]", "[6, 3]"}));
  CHECK(mentions(error_of([&] { layer_norm(x, {3}, {}, ones({3}, {DType::f64})); }),
                 {"layer_norm", "f32", "f64"}));
}
