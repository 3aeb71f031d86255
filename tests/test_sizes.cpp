// Sizes, strides and offsets that 64 bits or a storage do not hold.
#include <limits>

#include "compare.h"
#include "evenkeel/base/checked.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/core/random.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kHuge = std::int64_t{1} << 40;

}  // namespace

TEST_CASE("checked arithmetic fails where 64 bits do") {
  CHECK(checked_product("f", {}) == 1);
  CHECK(checked_product("f", {3, -4}) == -12);
  CHECK(checked_product("f", {kMost, 1}) == kMost);
  CHECK(checked_product("f", {kMost, 0}) == 0);
  CHECK(mentions(error_of([] { checked_product("conv2d", {kHuge, kHuge}); }), {"conv2d", "1099511627776"}));
  CHECK(mentions(error_of([] { checked_product("f", {0, kHuge, kHuge}); }), {"f"}));
  CHECK(checked_sum("f", {kMost, -1, 1}) == kMost);
  CHECK(mentions(error_of([] { checked_sum("pool", {kMost, 1}); }), {"pool", "9223372036854775807 + 1"}));
  CHECK(mentions(error_of([] { checked_sum("pool", {kLeast, -1}); }), {"pool"}));
}

TEST_CASE("what is no shape has neither elements nor strides") {
  CHECK(Shape{kHuge, 0}.numel() == 0);
  CHECK(Shape{kMost}.numel() == kMost);
  for (const Shape& shape : {Shape{kHuge, kHuge}, Shape{kHuge, 0, kHuge}, Shape{kMost, 2}}) {
    INFO(shape.str());
    CHECK(mentions(error_of([&] { shape.numel(); }), {shape.str(), "too many"}));
    CHECK(mentions(error_of([&] { contiguous_strides(shape); }), {"too many"}));
    CHECK_THROWS_AS(zeros(shape), Error);
    CHECK_THROWS_AS(randn(shape), Error);
    CHECK_THROWS_AS(from_vector<float>({}, shape), Error);
    CHECK_THROWS_AS(zeros({1}).broadcast_to(shape), Error);
    CHECK_THROWS_AS(zeros({0}).reshape(shape), Error);
  }
  CHECK(mentions(error_of([] { Shape{2, -1}.numel(); }), {"[2, -1]", "at least 0"}));
  CHECK(mentions(error_of([] { zeros({-3, 0}); }), {"[-3, 0]"}));
  CHECK(mentions(error_of([] { from_vector<float>({1}, {-1, -1}); }), {"[-1, -1]"}));
  CHECK(contiguous_strides({2, 0, 3}) == Shape{3, 3, 1});
}

TEST_CASE("bytes that nobody has are refused") {
  for (DType dtype : {DType::u8, DType::f32, DType::f64}) {
    CHECK_THROWS_AS(empty({kMost}, {dtype}), Error);
    CHECK_THROWS_AS(empty({kMost / 4}, {dtype}), Error);
    CHECK_THROWS_AS(zeros({kHuge, 1 << 20}, {dtype}), Error);
  }
  CHECK_THROWS_AS(Storage(-1, Device::cpu()), Error);
  CHECK_THROWS_AS(Storage(kMost, Device::cpu()), Error);
  CHECK(zeros({kHuge, 0}).numel() == 0);
}

TEST_CASE("arange counts without wrapping") {
  CHECK(arange(kMost - 2, kMost).to_vector<std::int64_t>() ==
        std::vector<std::int64_t>{kMost - 2, kMost - 1});
  CHECK(arange(kLeast, kLeast + 1).to_vector<std::int64_t>() == std::vector<std::int64_t>{kLeast});
  CHECK(arange(kMost, kMost).numel() == 0);
  CHECK(mentions(error_of([] { arange(kLeast, kMost); }), {"arange"}));
  CHECK_THROWS_AS(arange(0, kMost), Error);
  CHECK(mentions(error_of([] { arange(kMost, kLeast); }), {"arange", "past"}));
}

TEST_CASE("reshape does not wrap") {
  const Tensor x = zeros({4, 4});
  CHECK_THROWS_AS(x.reshape({kHuge, kHuge * 16, 16}), Error);  // 2^88, 16 modulo 2^64
  CHECK_THROWS_AS(x.reshape({kHuge, kHuge, -1}), Error);
  CHECK_THROWS_AS(x.reshape({1LL << 32, 1LL << 32, -1}), Error);  // known sizes are 0 modulo 2^64
  CHECK_THROWS_AS(x.reshape({kLeast, -1}), Error);
  CHECK_THROWS_AS(zeros({0}).reshape({kHuge, kHuge, 0}), Error);
  CHECK_THROWS_AS(x.reshape({3, -1}), Error);
  CHECK(zeros({0, 4}).reshape({-1, 4}).shape() == Shape{0, 4});
}

TEST_CASE("a repeated view has at most 2^63 elements, and needs no memory") {
  const Tensor x = ones({1, 1});
  CHECK(x.broadcast_to({kHuge, 1 << 20}).numel() == kHuge << 20);
  CHECK_THROWS_AS(x.broadcast_to({kHuge, kHuge}), Error);
  CHECK_THROWS_AS(x.broadcast_to({-1, 1}), Error);
  const Tensor wide = x.broadcast_to({kHuge, 1 << 20});
  CHECK_THROWS_AS(wide + wide, Error);
  CHECK_THROWS_AS(wide.clone(), Error);
  CHECK_THROWS_AS(wide.to(DType::f64), Error);
  CHECK_THROWS_AS(wide.reshape({kHuge, 1 << 20, 1}).broadcast_to({kHuge, 1 << 20, 1 << 10}), Error);
  CHECK(wide.slice(0, 1, 2).slice(1, 5, 7).to_vector<double>() == std::vector<double>{1, 1});
}

TEST_CASE("slices do not wrap") {
  const Tensor x = arange(0, 10);
  CHECK(x.slice(0, 3, 10, kMost).to_vector<double>() == std::vector<double>{3});
  CHECK(x.slice(0, 0, 10, kMost / 2).to_vector<double>() == std::vector<double>{0});
  CHECK(x.reshape({2, 5}).slice(0, 0, 2, kMost).slice(0, 1, 1).numel() == 0);
  CHECK(x.slice(0, 10, 10, kMost).numel() == 0);
  for (const auto& [start, end] : {std::pair{kLeast, kMost},
                                   {kLeast, std::int64_t{5}},
                                   {std::int64_t{0}, kMost},
                                   {kMost, kMost},
                                   {std::int64_t{0}, kLeast}}) {
    INFO(start << " to " << end);
    CHECK(mentions(error_of([&, s = start, e = end] { x.slice(0, s, e); }), {"slice", "[10]"}));
  }
}

TEST_CASE("a tensor lies in its storage") {
  const Tensor memory = zeros({10});
  const auto view = [&](std::int64_t offset, const Shape& shape, const Shape& strides) {
    return Tensor(memory.storage(), offset, shape, strides, DType::f32);
  };
  CHECK(view(0, {2, 5}, {5, 1}).numel() == 10);
  CHECK(view(1, {3, 3}, {3, 1}).numel() == 9);
  CHECK(view(9, {}, {}).numel() == 1);
  CHECK(view(0, {kHuge}, {0}).numel() == kHuge);
  CHECK(view(0, {1, 10}, {kMost, 1}).numel() == 10);
  CHECK(view(kMost, {0, 5}, {kMost, 1}).numel() == 0);
  CHECK_THROWS_AS(view(1, {2, 5}, {5, 1}), Error);
  CHECK_THROWS_AS(view(-1, {2}, {1}), Error);
  CHECK_THROWS_AS(view(10, {1}, {1}), Error);
  CHECK_THROWS_AS(view(5, {5}, {-1}), Error);
  CHECK_THROWS_AS(view(0, {3, 2}, {kMost, 1}), Error);
  CHECK_THROWS_AS(view(kMost, {2}, {1}), Error);
  CHECK_THROWS_AS(view(0, {10}, {1, 1}), Error);
  CHECK_THROWS_AS(Tensor(memory.storage(), 0, {10}, {1}, DType::f64), Error);
  CHECK_THROWS_AS(Tensor(Storage(), 0, {10}, {1}, DType::f32), Error);
}
