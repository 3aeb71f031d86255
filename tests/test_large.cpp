// Arrays larger than the caches, which some kernels store past them: the same bits as of their parts.
#include "compare.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/core/random.h"
#include "evenkeel/nn/functional.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

/// y and dx of a function of each image, for all images together.
struct Result {
  Tensor y, dx;
};

template <typename F>
Result run(const F& f, const Tensor& x, const Tensor& dy) {
  Tensor input = x.clone();
  input.requires_grad_();
  const Tensor y = f(input);
  y.backward(dy);
  return {y.detach(), input.grad()};
}

template <typename F>
void check(const F& f) {
  // 36 MB; rows of 757 floats, so that planes begin anywhere in a cache line.
  Random random;
  const Tensor x = random.normal({3, 4, 991, 757}, {DType::f32}), dy = random.normal(x.shape(), {DType::f32});
  const Result all = run(f, x, dy);
  for (std::int64_t n = 0; n < x.size(0); ++n) {
    const Result one = run(f, x.slice(0, n, n + 1).contiguous(), dy.slice(0, n, n + 1).contiguous());
    CHECK(same_bits(all.y.slice(0, n, n + 1).contiguous(), one.y));
    CHECK(same_bits(all.dx.slice(0, n, n + 1).contiguous(), one.dx));
  }
}

}  // namespace

TEST_CASE("a norm of an array larger than the caches is the norm of its images") {
  Random random;
  const Tensor gamma = random.normal({4}, {DType::f32}), beta = random.normal({4}, {DType::f32});
  const Tensor mean = random.normal({4}, {DType::f32}), var = random.uniform({4}, {DType::f32}, 0.5, 2);
  check([&](const Tensor& x) { return batch_norm(x, mean, var, gamma, beta, false); });
  check([&](const Tensor& x) { return group_norm(x, 2, gamma, beta); });
  const Shape image{4, 991, 757};
  const Tensor scale = random.normal(image, {DType::f32}), shift = random.normal(image, {DType::f32});
  check([&](const Tensor& x) { return layer_norm(x, image, scale, shift); });
}

TEST_CASE("max_pool2d knows which pixel of a window was the largest where an f32 cannot count them") {
  Tensor x = zeros({1, 1, 4200, 4200});
  x.slice(2, 4199, 4200).slice(3, 4197, 4198).fill_(1);
  x = leaf(x);
  const Tensor y = max_pool2d(x, 4200);
  CHECK(y.item() == 1);
  y.backward();
  CHECK(sum(x.grad()).item() == 1);
  CHECK(x.grad().slice(2, 4199, 4200).slice(3, 4197, 4198).item() == 1);
}
