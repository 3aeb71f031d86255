// Tensor: shapes, strides, views, copies, conversions, changes in place, printing, and bad uses.
#include <cmath>
#include <limits>
#include <numeric>
#include <sstream>

#include "compare.h"
#include "evenkeel/core/autograd.h"
#include "evenkeel/core/ops.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

using Values = std::vector<double>;

/// 0, 1, 2, ... in this shape.
Tensor counting(const Shape& shape, TensorOptions options = {}) {
  return arange(0, shape.numel(), options).reshape(shape);
}

std::string printed(const Tensor& x) {
  std::ostringstream out;
  out << x;
  return out.str();
}

}  // namespace

TEST_CASE("Shape counts, compares, prints and refuses too many axes") {
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{2, 3, 4}.numel() == 24);
  CHECK(Shape{2, 0, 4}.numel() == 0);
  CHECK(Shape{2, 3} != Shape{3, 2});
  CHECK(Shape{2} != Shape{2, 1});
  CHECK(Shape{2, 3}.str() == "[2, 3]");
  CHECK(contiguous_strides({2, 3, 4}) == Shape{12, 4, 1});
  Shape full_rank(kMaxRank, 1);
  CHECK(mentions(error_of([&] { full_rank.push_back(1); }), {"8"}));
}

TEST_CASE("shapes broadcast by NumPy's rule") {
  CHECK(broadcast_shapes("f", {2, 1, 4}, {3, 1}) == Shape{2, 3, 4});
  CHECK(broadcast_shapes("f", {}, {5}) == Shape{5});
  CHECK(broadcast_shapes("f", {1}, {0}) == Shape{0});
  CHECK(mentions(error_of([] { broadcast_shapes("f", {2, 3}, {2, 4}); }), {"f", "[2, 3]", "[2, 4]"}));
}

constexpr DType kDTypes[] = {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64, DType::u8};

TEST_CASE("factories make what they say, on every device and in every dtype") {
  for (Device device : devices()) {
    for (DType dtype : kDTypes) {
      const TensorOptions options{dtype, device};
      INFO(name_of(dtype) << " on " << device.str());
      CHECK(zeros({2, 3}, options).to_vector<double>() == Values(6, 0.0));
      CHECK(ones({2, 3}, options).to_vector<double>() == Values(6, 1.0));
      CHECK(full({2}, 7, options).to_vector<double>() == Values{7, 7});
      CHECK(arange(3, 6, options).to_vector<double>() == Values{3, 4, 5});
      const Tensor x = empty({4, 5}, options);
      CHECK(x.shape() == Shape{4, 5});
      CHECK(x.dtype() == dtype);
      CHECK(x.device() == device);
      CHECK(x.is_contiguous());
      CHECK(empty_like(x).dtype() == dtype);
      CHECK(zeros_like(x).to_vector<double>() == Values(20, 0.0));
    }
  }
  CHECK(arange(0, 3).dtype() == DType::i64);
  CHECK(tensor({1.5f, -2}).to_vector<float>() == std::vector<float>{1.5f, -2});
  CHECK(full({}, 2.5).item() == 2.5);
  CHECK(zeros({0, 3}).numel() == 0);
  CHECK(zeros({0, 3}).to_vector<float>().empty());
}

TEST_CASE("from_vector keeps the dtype and checks the count") {
  CHECK(from_vector<std::int64_t>({1, 2}, {2}).dtype() == DType::i64);
  CHECK(from_vector<std::uint8_t>({1, 255}, {2}).to_vector<double>() == Values{1, 255});
  CHECK(from_vector<double>({0.1}, {}).item() == 0.1);
  CHECK(mentions(error_of([] { from_vector<float>({1, 2, 3}, {2, 2}); }), {"from_vector", "3", "[2, 2]"}));
}

TEST_CASE("sizes and axes may count from the end") {
  const Tensor x = zeros({2, 3, 4});
  CHECK(x.size(0) == 2);
  CHECK(x.size(-1) == 4);
  CHECK(mentions(error_of([&] { x.size(3); }), {"size", "3"}));
  CHECK(mentions(error_of([&] { x.size(-4); }), {"size", "-4"}));
}

TEST_CASE("a copy is a handle, a clone is not") {
  Tensor x = counting({2, 2});
  const Tensor handle = x;
  const Tensor deep = x.clone();
  x.fill_(9);
  CHECK(handle.to_vector<double>() == Values{9, 9, 9, 9});
  CHECK(deep.to_vector<double>() == Values{0, 1, 2, 3});
  CHECK(handle.storage() == x.storage());
  CHECK_FALSE(deep.storage() == x.storage());
}

TEST_CASE("reshape views where it can and copies where it must") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = counting({2, 3, 4}, options);
    CHECK(x.reshape({6, 4}).storage() == x.storage());
    CHECK(x.reshape({-1, 8}).shape() == Shape{3, 8});
    CHECK(x.reshape({4, 6}).to_vector<double>() == x.to_vector<double>());
    CHECK(x.reshape({1, 24, 1}).reshape({2, 3, 4}).to_vector<double>() == x.to_vector<double>());

    // [4, 2, 3] with strides [1, 12, 4]: the last two axes are still one run in memory, the first is not.
    const Tensor moved = x.permute({2, 0, 1});
    const Tensor merged = moved.reshape({4, 6});
    CHECK(merged.storage() == x.storage());
    CHECK(merged.strides() == Shape{1, 4});
    CHECK(merged.to_vector<double>() == moved.to_vector<double>());
    const Tensor copied = moved.reshape({24});
    CHECK_FALSE(copied.storage() == x.storage());
    CHECK(copied.to_vector<double>() == moved.to_vector<double>());

    // A column of a matrix keeps its stride; an axis of size 1 does not get in the way.
    const Tensor column = x.reshape({6, 4}).slice(1, 2, 3);
    CHECK(column.reshape({2, 3}).storage() == x.storage());
    CHECK(column.reshape({2, 3}).to_vector<double>() == Values{2, 6, 10, 14, 18, 22});
    CHECK(ones({1}, options).broadcast_to({4, 6}).reshape({24}).to_vector<double>() == Values(24, 1.0));
  });
}

TEST_CASE("reshape refuses what does not fit") {
  const Tensor x = zeros({2, 3});
  CHECK(mentions(error_of([&] { x.reshape({4}); }), {"reshape", "[2, 3]", "[4]"}));
  CHECK(mentions(error_of([&] { x.reshape({4, -1}); }), {"reshape", "[2, 3]"}));
  CHECK(mentions(error_of([&] { x.reshape({-1, -1}); }), {"reshape", "-1"}));
  CHECK(mentions(error_of([&] { x.reshape({-2, -3}); }), {"reshape"}));
  // 0 elements and a free size beside a 0: any number would fit.
  CHECK(mentions(error_of([] { zeros({0, 3}).reshape({0, -1}); }), {"reshape"}));
  CHECK(zeros({0, 3}).reshape({5, 0}).shape() == Shape{5, 0});
}

TEST_CASE("transpose and permute move axes without moving memory") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = counting({2, 3}, options);
    const Tensor t = x.transpose(0, 1);
    CHECK(t.shape() == Shape{3, 2});
    CHECK(t.storage() == x.storage());
    CHECK_FALSE(t.is_contiguous());
    CHECK(t.to_vector<double>() == Values{0, 3, 1, 4, 2, 5});
    CHECK(t.contiguous().is_contiguous());
    CHECK(t.transpose(-1, -2).is_contiguous());
    const Tensor p = counting({2, 3, 4}, options).permute({2, 0, -2});
    CHECK(p.shape() == Shape{4, 2, 3});
    CHECK(p.to_vector<double>()[7] == 5);  // p[1, 0, 1] is x[0, 1, 1]
  });
  const Tensor x = zeros({2, 3});
  CHECK(mentions(error_of([&] { x.permute({0}); }), {"permute", "[2, 3]"}));
  CHECK(mentions(error_of([&] { x.permute({0, -2}); }), {"permute", "twice"}));
  CHECK(mentions(error_of([&] { x.transpose(0, 2); }), {"transpose", "2"}));
}

TEST_CASE("slice takes steps and negative bounds") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = counting({10}, options);
    CHECK(x.slice(0, 2, 5).to_vector<double>() == Values{2, 3, 4});
    CHECK(x.slice(0, 1, 10, 3).to_vector<double>() == Values{1, 4, 7});
    CHECK(x.slice(0, 0, 10, 3).to_vector<double>() == Values{0, 3, 6, 9});  // the last step ends on the end
    CHECK(x.slice(0, -3, -1).to_vector<double>() == Values{7, 8});
    CHECK(x.slice(0, 4, 4).numel() == 0);
    CHECK(x.slice(0, 0, 10, 100).to_vector<double>() == Values{0});
    const Tensor inner = counting({3, 4}, options).slice(-1, 1, 4, 2).slice(0, 1, 3);
    CHECK(inner.to_vector<double>() == Values{5, 7, 9, 11});
    CHECK(inner.offset() == 5);
  });
  const Tensor x = zeros({3, 4});
  CHECK(mentions(error_of([&] { x.slice(1, 0, 5); }), {"slice", "[3, 4]"}));
  CHECK(mentions(error_of([&] { x.slice(1, 3, 2); }), {"slice", "[3, 4]"}));
  CHECK(mentions(error_of([&] { x.slice(1, -5, 2); }), {"slice", "[3, 4]"}));
  CHECK(mentions(error_of([&] { x.slice(0, 0, 2, 0); }), {"slice", "step"}));
  CHECK(mentions(error_of([&] { x.slice(0, 0, 2, -1); }), {"slice", "step"}));
}

TEST_CASE("broadcast_to repeats without memory") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = counting({3, 1}, options);
    const Tensor y = x.broadcast_to({2, 3, 2});
    CHECK(y.strides() == Shape{0, 1, 0});
    CHECK(y.to_vector<double>() == Values{0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2});
    CHECK(y.storage() == x.storage());
  });
  CHECK(mentions(error_of([] { zeros({3}).broadcast_to({3, 2}); }), {"broadcast_to", "[3]", "[3, 2]"}));
  CHECK(mentions(error_of([] { zeros({3}).broadcast_to({1}); }), {"broadcast_to", "[3]", "[1]"}));
}

TEST_CASE("to converts between all dtypes") {
  const Tensor x = from_vector<double>({0, 1, 2.75, 200}, {4});
  CHECK(x.to(DType::i64).to_vector<std::int64_t>() == std::vector<std::int64_t>{0, 1, 2, 200});
  CHECK(x.to(DType::u8).to_vector<std::uint8_t>() == std::vector<std::uint8_t>{0, 1, 2, 200});
  CHECK(x.to(DType::f32).to(DType::f64).to_vector<double>() == x.to_vector<double>());
  CHECK(x.to(DType::f64).storage() == x.storage());  // nothing to do: the tensor itself
  CHECK(full({1}, 0.1, {DType::f64}).to(DType::f32).item() == static_cast<double>(0.1f));
  for (Device device : devices()) {
    for (DType from : kDTypes) {
      for (DType to : kDTypes) {
        INFO(name_of(from) << " to " << name_of(to) << " on " << device.str());
        const Tensor y = x.to(device).to(from).to(to);
        CHECK(y.dtype() == to);
        const bool whole = !is_floating(from) || !is_floating(to);
        CHECK(y.to_vector<double>() == Values{0, 1, whole ? 2 : 2.75, 200});
      }
    }
  }
  const std::int64_t large = (std::int64_t{1} << 53) + 1;  // f64 cannot hold it
  CHECK(from_vector<std::int64_t>({large}, {1}).clone().to_vector<std::int64_t>()[0] == large);
  CHECK(x.reshape({2, 2}).transpose(0, 1).to(DType::f32).to_vector<float>() ==
        std::vector<float>{0, 2.75f, 1, 200});
}

TEST_CASE("numbers that are too large for u8 are taken modulo 256") {
  const Values values{4294967301, 1e10 + 7, -4294967297, 300, -1, -0x1p63, 0x1p62 + 1024};
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for (Device device : devices()) {
    INFO(device.str());
    const Tensor x = from_vector<double>(values, {7}).to(device);
    CHECK(x.to(DType::u8).to_vector<double>() == Values{5, 7, 255, 44, 255, 0, 0});
    Tensor bytes = zeros({7, 2}, {DType::u8, device});
    bytes.slice(1, 1, 2).copy_(x.reshape({7, 1}));
    CHECK(bytes.slice(1, 1, 2).to_vector<double>() == Values{5, 7, 255, 44, 255, 0, 0});
    CHECK(x.to(DType::f32).to(DType::u8).to_vector<double>() == Values{0, 0, 0, 44, 255, 0, 0});
    CHECK(x.to(DType::i64).to_vector<double>() == values);
    // Also too large for i64, or no number: its least one, of which u8 gets the last byte.
    const Tensor none = from_vector<double>({0x1p63, -1e30, 1e300, inf, -inf, nan}, {6}).to(device);
    for (DType dtype : {DType::f64, DType::f32}) {
      CHECK(none.to(dtype).to(DType::u8).to_vector<double>() == Values(6, 0.0));
      CHECK(none.to(dtype).to(DType::i64).to_vector<double>() == Values(6, -0x1p63));
    }
  }
}

TEST_CASE("devices parse, print and say why they are missing") {
  CHECK(Device::parse("cpu") == Device::cpu());
  CHECK(Device::parse("cuda") == Device::cuda(0));
  CHECK(Device::parse("cuda:3") == Device::cuda(3));
  CHECK(Device::parse("auto") == Device::best());
  for (const char* bad : {"", "gpu", "cuda:", "cuda:-1", "cuda:1x", "CPU"}) {
    INFO("'" << bad << "'");
    CHECK(mentions(error_of([&] { Device::parse(bad); }), {"device", bad}));
  }
  const Device missing = Device::cuda(cuda_devices().count);
  CHECK_THROWS_AS(zeros({2}, {DType::f32, missing}), DeviceError);
  CHECK_THROWS_AS(zeros({2}).to(missing), DeviceError);
  for (Device device : devices()) {
    CHECK(counting({2, 3}).to(device).to(Device::cpu()).to_vector<double>() == Values{0, 1, 2, 3, 4, 5});
  }
}

namespace {

/// For each device and floating-point dtype, 16 bits on the CPU too, where they can be copied and added to.
template <typename F>
void for_each_number_kind(F f) {
  for_each_kind(f);
  for (DType dtype : {DType::bf16, DType::f16}) for_each_device_in(dtype, f);
}

}  // namespace

TEST_CASE("fill_, copy_ and add_ write through views") {
  for_each_number_kind([](TensorOptions options) {
    Tensor x = zeros({3, 4}, options);
    x.slice(1, 1, 4, 2).fill_(5);
    CHECK(x.to_vector<double>() == Values{0, 5, 0, 5, 0, 5, 0, 5, 0, 5, 0, 5});
    x.transpose(0, 1).copy_(counting({3}, {DType::i64, options.device}));
    CHECK(x.to_vector<double>() == Values{0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2});
    x.slice(0, 1, 2).add_(counting({4}, options), 10);
    CHECK(x.to_vector<double>() == Values{0, 0, 0, 0, 1, 11, 21, 31, 2, 2, 2, 2});
    x.transpose(0, 1).add_(counting({3}, options), -1);
    CHECK(x.to_vector<double>() == Values{0, 0, 0, 0, 0, 10, 20, 30, 0, 0, 0, 0});
    x.zero_();
    CHECK(x.to_vector<double>() == Values(12, 0.0));
  });
}

TEST_CASE("copy_ between overlapping views reads everything first") {
  for_each_number_kind([](TensorOptions options) {
    Tensor x = counting({6}, options);
    x.slice(0, 1, 6).copy_(x.slice(0, 0, 5));
    CHECK(x.to_vector<double>() == Values{0, 0, 1, 2, 3, 4});
    Tensor square = counting({2, 2}, options);
    square.copy_(square.transpose(0, 1));
    CHECK(square.to_vector<double>() == Values{0, 2, 1, 3});
    Tensor doubled = counting({4}, options);
    doubled.slice(0, 1, 4).add_(doubled.slice(0, 0, 3));
    CHECK(doubled.to_vector<double>() == Values{0, 1, 3, 5});
  });
}

TEST_CASE("changes in place check shapes and kinds") {
  Tensor x = zeros({2, 3});
  CHECK(mentions(error_of([&] { x.copy_(zeros({4})); }), {"[4]", "[2, 3]"}));
  CHECK(mentions(error_of([&] { x.add_(zeros({2})); }), {"[2]", "[2, 3]"}));
  CHECK(mentions(error_of([&] { x.add_(zeros({3}, {DType::f64})); }), {"add_", "f32", "f64"}));
}

TEST_CASE("set_data reaches every handle and keeps the leaf") {
  Tensor x = zeros({2}).requires_grad_();
  const Tensor handle = x;
  x.set_data(full({3}, 4, {DType::f64}));
  CHECK(handle.dtype() == DType::f64);
  CHECK(handle.to_vector<double>() == Values{4, 4, 4});
  CHECK(handle.requires_grad());
}

TEST_CASE("data checks the dtype, item the count") {
  Tensor x = counting({2, 2}, {DType::f32});
  CHECK(x.data<float>()[3] == 3);
  CHECK(x.slice(0, 1, 2).data<float>()[0] == 2);
  x.mutable_data<float>()[0] = 8;
  CHECK(x.to_vector<double>()[0] == 8);
  CHECK(mentions(error_of([&] { x.data<double>(); }), {"f32", "f64"}));
  CHECK(mentions(error_of([&] { x.item(); }), {"item", "[2, 2]"}));
  CHECK(x.slice(0, 1, 2).slice(1, 1, 2).item() == 3);
}

TEST_CASE("impossible sizes are refused") {
  CHECK(mentions(error_of([] { empty({2, -1}); }), {"[2, -1]"}));
  const std::int64_t huge = std::int64_t{1} << 32;
  CHECK(mentions(error_of([=] { empty({huge, huge}); }), {"too many"}));
  CHECK(mentions(error_of([] { arange(3, 1); }), {"arange", "3", "1"}));
  CHECK(mentions(error_of([] { set_num_threads(0); }), {"set_num_threads", "0"}));
}

TEST_CASE("a tensor that is not there says so") {
  const Tensor none;
  CHECK_FALSE(none.defined());
  CHECK(printed(none) == "tensor(undefined)");
  CHECK(mentions(error_of([&] { check_same_kind("f", {&none}); }), {"f", "undefined"}));
}

TEST_CASE("tensors print as PyTorch's do") {
  CHECK(printed(counting({2, 2}, {DType::i64})) == "tensor([[0, 1],\n        [2, 3]], dtype=i64)");
  CHECK(printed(tensor({0.5f, -1})) == "tensor([0.5000, -1.0000])");
  CHECK(printed(full({}, 3, {DType::f64})) == "tensor(3.0000, dtype=f64)");
  CHECK(printed(full({2}, 1.0 / 3, {DType::bf16})) == "tensor([0.3340, 0.3340], dtype=bf16)");
  CHECK(printed(full({}, 1.0 / 3, {DType::f16})) == "tensor(0.3333, dtype=f16)");
  CHECK(printed(zeros({2, 0})).find("shape=[2, 0]") != std::string::npos);
  CHECK(printed(ones({1}).requires_grad_()) == "tensor([1.0000], requires_grad=true)");
  CHECK(printed(counting({2000}, {DType::i64})) == "tensor([0, 1, 2, ..., 1997, 1998, 1999], dtype=i64)");
  CHECK(printed(full({1}, std::numeric_limits<double>::quiet_NaN())).find("nan") != std::string::npos);
}

TEST_CASE("tensors print in scientific notation where PyTorch's do") {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(printed(tensor({1e-5f, 2e-7f})) == "tensor([1.0000e-05, 2.0000e-07])");
  CHECK(printed(tensor({1e30f})) == "tensor([1.0000e+30])");
  CHECK(printed(full({}, -2.5e-8)) == "tensor(-2.5000e-08)");
  CHECK(printed(tensor({1, 2, 1000})) == "tensor([1.0000, 2.0000, 1000.0000])");
  CHECK(printed(tensor({1, 2, 1001})) == "tensor([1.0000e+00, 2.0000e+00, 1.0010e+03])");
  CHECK(printed(tensor({1e8f})) == "tensor([100000000.0000])");
  CHECK(printed(tensor({2e8f})) == "tensor([2.0000e+08])");
  CHECK(printed(full({1}, 1e-4, {DType::f64})) == "tensor([0.0001], dtype=f64)");
  CHECK(printed(tensor({0, 9e-5f})) == "tensor([0.0000e+00, 9.0000e-05])");
  const auto f = [](double x) { return static_cast<float>(x); };
  CHECK(printed(tensor({0.5f, f(nan), f(-nan), f(-inf)})) == "tensor([0.5000, nan, nan, -inf])");
  CHECK(printed(tensor({f(inf), 0})) == "tensor([inf, 0.0000])");
  Tensor long_one = zeros({2000});
  long_one.slice(0, 1000, 1001).fill_(1e10);  // which is not shown
  CHECK(printed(long_one) == "tensor([0.0000, 0.0000, 0.0000, ..., 0.0000, 0.0000, 0.0000])");
  long_one.slice(0, 1999, 2000).fill_(1e10);
  CHECK(printed(long_one).find("..., 0.0000e+00, 0.0000e+00, 1.0000e+10])") != std::string::npos);
}

TEST_CASE("integers print exactly") {
  const std::vector<std::int64_t> values{9007199254740993, std::numeric_limits<std::int64_t>::max(),
                                         std::numeric_limits<std::int64_t>::min()};
  CHECK(printed(from_vector(values, {3})) ==
        "tensor([9007199254740993, 9223372036854775807, -9223372036854775808], dtype=i64)");
  CHECK(printed(full({1}, 255, {DType::u8})) == "tensor([255], dtype=u8)");
}
