// Ops on integers and on tensors without elements: PyTorch's values.
#include <cmath>
#include <sstream>

#include "compare.h"
#include "evenkeel/core/ops.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

using Values = std::vector<double>;
using Inputs = std::vector<Tensor>;

Tensor integers(const std::vector<std::int64_t>& values, const Shape& shape, TensorOptions options) {
  return from_vector(values, shape).to(options.dtype).to(options.device);
}

/// For i64 and u8 on each device.
template <typename F>
void for_each_integer_kind(F f) {
  for (DType dtype : {DType::i64, DType::u8}) for_each_device_in(dtype, f);
}

std::string printed(const Tensor& x) {
  std::ostringstream out;
  out << x;
  return out.str();
}

}  // namespace

TEST_CASE("accuracy as everybody writes it") {
  for_each_device([](TensorOptions options) {
    const Tensor logits = from_vector<double>({1, 2, 0, 5, 4, 3, 0, 0, 9, 7, 8, 6}, {4, 3}, options.device);
    const Tensor target = from_vector<std::int64_t>({1, 0, 0, 1}, {4}, options.device);
    const Tensor right = equal(argmax(logits, 1), target);
    CHECK(right.to_vector<double>() == Values{1, 1, 0, 1});
    CHECK(mean(right).item() == 0.75);
    CHECK(sum(right).item() == 3);
  });
}

TEST_CASE("integers of any width compare") {
  for_each_integer_kind([](TensorOptions options) {
    const Tensor a = integers({1, 2, 3, 4}, {2, 2}, options);
    for (DType other : {DType::i64, DType::u8}) {
      const Tensor b = integers({1, 4}, {2}, {other, options.device});
      CHECK(equal(a, b).to_vector<double>() == Values{1, 0, 0, 1});
      CHECK(equal(a, b).dtype() == DType::f32);
      CHECK(equal(a.transpose(0, 1), b).to_vector<double>() == Values{1, 0, 0, 1});
    }
    CHECK(equal(a.slice(0, 0, 0), a.slice(0, 0, 0)).shape() == Shape{0, 2});
  });
  const std::int64_t large = (std::int64_t{1} << 53) + 1;  // f64 cannot tell it from its neighbour
  CHECK(equal(from_vector<std::int64_t>({large}, {1}), from_vector<std::int64_t>({large - 1}, {1})).item() ==
        0);
  CHECK_THROWS_AS(equal(zeros({2}), zeros({2}, {DType::i64})), Error);
}

TEST_CASE("max and argmax of integers") {
  for_each_integer_kind([](TensorOptions options) {
    const Tensor x = integers({3, 9, 9, 200, 0, 5}, {2, 3}, options);
    CHECK(max(x).item() == 200);
    CHECK(max(x).dtype() == options.dtype);
    CHECK(max(x, {1}, true).to_vector<double>() == Values{9, 200});
    CHECK(argmax(x, 1).to_vector<double>() == Values{1, 0});
    CHECK(argmax(x.transpose(0, 1), 0).to_vector<double>() == Values{1, 0});
    CHECK(max(x.slice(0, 0, 0), {1}).shape() == Shape{0});
    CHECK_THROWS_AS(max(x.slice(0, 0, 0)), Error);
    CHECK_THROWS_AS(mean(x), Error);
    // More than a thread's and than a block's share of a reduction.
    CHECK(argmax(integers({1, 7, 2}, {3, 1}, options).broadcast_to({3, 500}).reshape({1500}), 0).item() ==
          500);
  });
  const std::int64_t large = std::int64_t{1} << 53;
  CHECK(argmax(from_vector<std::int64_t>({large, large + 1}, {2}), 0).item() == 1);
}

TEST_CASE("reductions of nothing have PyTorch's values or errors") {
  for_each_kind([](TensorOptions options) {
    const Tensor rows = zeros({3, 0}, options), none = zeros({0, 3}, options);
    CHECK(sum(rows, {1}).to_vector<double>() == Values(3, 0.0));
    CHECK(sum(rows, {0}).shape() == Shape{0});
    CHECK(sum(rows).item() == 0);
    CHECK(sum(rows, {1}, true).shape() == Shape{3, 1});
    CHECK(mean(none, {1}).shape() == Shape{0});
    CHECK(max(none, {1}).shape() == Shape{0});
    CHECK(argmax(none, 1).shape() == Shape{0});
    CHECK_THROWS_AS(max(none, {0}), Error);
    CHECK_THROWS_AS(max(none), Error);
    CHECK_THROWS_AS(argmax(none, 0), Error);
    CHECK(exp(none).shape() == none.shape());
    CHECK((none + none * 2.0 - zeros({1, 3}, options)).shape() == none.shape());
    CHECK(sum_to(none, {1, 3}).to_vector<double>() == Values(3, 0.0));
  });
}

TEST_CASE("matrix products of nothing are nothing or zeros") {
  for_each_kind([](TensorOptions options) {
    for (std::int64_t M : {0, 2}) {
      for (std::int64_t K : {0, 3}) {
        for (std::int64_t N : {0, 4}) {
          INFO(M << " x " << K << " x " << N);
          const Tensor c = matmul(ones({M, K}, options), ones({K, N}, options));
          CHECK(c.shape() == Shape{M, N});
          CHECK(c.to_vector<double>() == Values(static_cast<std::size_t>(M * N), static_cast<double>(K)));
          for (std::int64_t batch : {0, 2}) {
            const Tensor b = matmul(ones({batch, M, K}, options), ones({batch, K, N}, options));
            CHECK(b.shape() == Shape{batch, M, N});
            CHECK(b.to_vector<double>() ==
                  Values(static_cast<std::size_t>(batch * M * N), static_cast<double>(K)));
          }
        }
      }
    }
  });
}

TEST_CASE("gradients flow through nothing") {
  for_each_device([](TensorOptions options) {
    for (const Shape& shape : {Shape{0, 3}, Shape{3, 0}, Shape{0, 0}}) {
      INFO(shape.str());
      const Inputs x{leaf(zeros(shape, options)), leaf(ones({1, shape[1]}, options))};
      const auto check = [&](auto fn) {
        CHECK(gradcheck(fn, x));
        for (const Tensor& leaf : x) CHECK((!leaf.grad().defined() || leaf.grad().shape() == leaf.shape()));
      };
      check([](const Inputs& in) { return in[0] * in[1] + in[1] / (in[0] + 2.0); });
      check([](const Inputs& in) { return sum(in[0] * in[1], {0}); });
      check([](const Inputs& in) { return sum(in[0], {1}, true); });
      check([](const Inputs& in) { return matmul(in[0], in[1].transpose(0, 1)); });
      check([](const Inputs& in) { return matmul(in[0].transpose(0, 1), in[0]); });
      check([](const Inputs& in) { return abs(in[0].transpose(0, 1)).reshape({-1}); });
      check([](const Inputs& in) { return in[0].slice(0, 0, 0).broadcast_to({0, in[0].size(1)}); });
    }
  });
}

TEST_CASE("nothing can be viewed, copied, converted, moved and printed") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = zeros({2, 0, 3}, options);
    CHECK(x.is_contiguous());
    CHECK(x.transpose(0, 2).is_contiguous());
    CHECK(x.transpose(0, 1).reshape({0, 6}).shape() == Shape{0, 6});
    CHECK(x.transpose(0, 2).reshape({5, 0}).shape() == Shape{5, 0});
    CHECK(x.reshape({-1, 3}).shape() == Shape{0, 3});
    CHECK(x.slice(2, 3, 3).shape() == Shape{2, 0, 0});
    CHECK(zeros({2, 3}, options).slice(0, 2, 2).slice(1, 3, 3).clone().shape() == Shape{0, 0});
    CHECK(x.clone().shape() == x.shape());
    CHECK(x.contiguous().shape() == x.shape());
    CHECK(x.to(DType::i64).to(DType::bf16).to(options.dtype).shape() == x.shape());
    for (Device device : devices()) CHECK(x.to(device).to(Device::cpu()).shape() == x.shape());
    CHECK(x.to_vector<float>().empty());
    CHECK_THROWS_AS(x.item(), Error);
    CHECK(x.broadcast_to({4, 2, 0, 3}).numel() == 0);
    Tensor y = zeros({0, 3}, options);
    y.fill_(1).copy_(zeros({3}, options)).add_(ones({1, 3}, options));
    CHECK(printed(y).find("tensor([], shape=[0, 3]") == 0);
    CHECK(printed(zeros({std::int64_t{1} << 40, 0}, options)).find("tensor([], shape=") == 0);
    CHECK(from_vector<float>({}, {0, 2}, options.device).shape() == Shape{0, 2});
  });
}

TEST_CASE("the mean of equal values is that value, whatever their number") {
  for_each_kind([](TensorOptions options) {
    for (std::int64_t n : {1, 3, 41, 49, 99, 107, 1000}) {
      INFO(n << " values");
      CHECK(mean(ones({n}, options)).item() == 1);
      CHECK(mean(full({2, n}, 7, options), {1}).to_vector<double>() == Values{7, 7});
    }
  });
}

TEST_CASE("a number has an axis of one element, 0 or -1, as far as reductions ask") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = full({}, 3, options);
    for (int axis : {0, -1}) {
      CHECK(sum(x, {axis}).item() == 3);
      CHECK(mean(x, {axis}, true).shape() == Shape{});
      CHECK(max(x, {axis}).item() == 3);
      CHECK(argmax(x, axis).item() == 0);
      const Tensor leaf_of_it = leaf(x.detach());
      sum(leaf_of_it, {axis}).backward();
      CHECK(leaf_of_it.grad().item() == 1);
    }
    CHECK(mentions(error_of([&] { sum(x, {1}); }), {"sum", "axis 1"}));
  });
}

TEST_CASE("axes of a shape count from both ends, and others are errors") {
  const Tensor x = ones({5, 7});
  CHECK(x.shape()[-1] == 7);
  CHECK(x.shape()[-2] == 5);
  CHECK(mentions(error_of([&] { x.shape()[2]; }), {"axis 2", "[5, 7]"}));
  CHECK(mentions(error_of([&] { x.shape()[-3]; }), {"axis -3", "[5, 7]"}));
}

TEST_CASE("a number may be transposed") {
  CHECK(full({}, 2).transpose(0, 0).item() == 2);
  CHECK(full({}, 2).transpose(-1, 0).item() == 2);
  CHECK(mentions(error_of([] { full({}, 2).transpose(0, 1); }), {"transpose", "axis 1"}));
}

TEST_CASE("a device below 0 is not available") {
  CHECK_THROWS_AS(ones({2}, {DType::f32, Device::cuda(-1)}), DeviceError);
}
