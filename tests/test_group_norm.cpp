// Group normalization, and with it instance normalization.
#include "check_norm.h"
#include "evenkeel/nn/functional.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

struct GroupNormShape {
  Shape x;
  std::int64_t groups;
  const char* reason;
};
const GroupNormShape kGroupNormShapes[] = {
    {{1, 1, 1, 2}, 1, "minimal"},
    {{2, 3, 1, 1}, 3, "groups of one element: variance 0"},
    {{2, 4, 1, 1}, 2, "1x1 planes"},
    {{3, 6, 2, 3}, 1, "G = 1: layer norm over C, H and W"},
    {{3, 6, 2, 3}, 6, "G = C: instance norm"},
    {{7, 6, 3, 5}, 3, "7 images, odd width"},
    {{17, 2, 1, 7}, 2, "17 images, planes shorter than a vector"},
    {{1, 4, 33, 31}, 2, "batch of one, planes longer than any unrolling, odd both ways"},
    {{5, 6}, 3, "no pixels at all"},
    {{2, 4, 3, 2, 5}, 2, "three spatial axes"},
    {{2, 10, 4, 4}, 2, "the study's last: 5 channels a group"},
    {{2, 4, 26, 26}, 2, "the study's first"},
};

NormCase group_norm_case(const GroupNormShape& s) {
  return {s.x,
          {s.x[1]},
          reference::group_norm_partition(sizes_of(s.x), s.groups),
          [groups = s.groups](const Tensor& x, const Tensor& gamma, const Tensor& beta) {
            return group_norm(x, groups, gamma, beta);
          },
          fmt::format("group_norm, {} groups, {}", s.groups, s.reason)};
}

}  // namespace

TEST_CASE("group_norm agrees with the reference") {
  for (const auto& s : kGroupNormShapes) check_norm_against_reference(group_norm_case(s));
}

TEST_CASE("group_norm has the right gradients") {
  for (const auto& s : kGroupNormShapes) check_norm_gradients(group_norm_case(s));
}

TEST_CASE("group_norm takes views, and gives only the gradients that are wanted") {
  const NormCase c = group_norm_case({{3, 6, 5, 4}, 2, "views"});
  check_norm_takes_views(c);
  check_norm_partial_gradients(c);
}

TEST_CASE("group_norm does not depend on the number of threads") {
  check_norm_threads(group_norm_case({{64, 8, 24, 24}, 2, "the study's second, a full batch"}));
  check_norm_threads(group_norm_case({{37, 10, 4, 4}, 2, "a batch that threads cannot share evenly"}));
}

TEST_CASE("group_norm has the right gradients where x is very small or very large") {
  NormCase c = group_norm_case({{5, 4, 3, 3}, 2, "scales"});
  c.op = [](const Tensor& x, const Tensor& gamma, const Tensor& beta) {
    return group_norm(x, 2, gamma, beta, 0);
  };
  check_norm_scales(c);
}

TEST_CASE("group_norm uses eps") {
  NormCase c = group_norm_case({{2, 4, 3, 3}, 2, "eps 0.5"});
  c.eps = 0.5;
  c.op = [](const Tensor& x, const Tensor& gamma, const Tensor& beta) {
    return group_norm(x, 2, gamma, beta, 0.5);
  };
  check_norm_against_reference(c);
}

TEST_CASE("group_norm refuses what does not fit") {
  const Tensor x = zeros({2, 6, 3, 3});
  CHECK(mentions(error_of([&] { group_norm(x, 4); }), {"group_norm", "4", "[2, 6, 3, 3]"}));
  CHECK(mentions(error_of([&] { group_norm(x, 0); }), {"group_norm", "0", "[2, 6, 3, 3]"}));
  CHECK(mentions(error_of([&] { group_norm(x, -2); }), {"group_norm", "-2", "[2, 6, 3, 3]"}));
  CHECK(mentions(error_of([&] { group_norm(x, 2, ones({5})); }), {"group_norm", "[5]", "[2, 6, 3, 3]"}));
  CHECK(mentions(error_of([&] { group_norm(x, 2, ones({6}), ones({6, 1})); }), {"group_norm", "[6, 1]"}));
  CHECK(mentions(error_of([&] { group_norm(x, 2, ones({6}, {DType::f64})); }), {"group_norm", "f32", "f64"}));
  CHECK(mentions(error_of([] { group_norm(zeros({4}), 2); }), {"group_norm", "[4]"}));
}
