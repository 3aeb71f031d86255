// Writing where elements share memory: refused before anything is written, or right.
#include "evenkeel/core/dispatch.h"
#include "evenkeel/core/overlap.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "compare.h"
#include "evenkeel/core/autograd.h"
#include "evenkeel/nn/functional.h"
#include "evenkeel/nn/optim.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

using Values = std::vector<double>;

/// 0, 1, 2, ... in this shape.
Tensor counting(const Shape& shape, TensorOptions options = {}) {
  return arange(0, shape.numel(), options).reshape(shape);
}

/// A view of a storage of its own, with these strides.
Tensor strided(const Shape& shape, const Shape& strides) {
  const Tensor memory = counting({100});
  return {memory.storage(), 0, shape, strides, DType::f32};
}

}  // namespace

TEST_CASE("a tensor overlaps itself exactly if two of its elements lie at one place") {
  CHECK_FALSE(overlaps_itself(counting({3, 4})));
  CHECK_FALSE(overlaps_itself(counting({3, 4}).transpose(0, 1)));
  CHECK_FALSE(overlaps_itself(counting({3, 4}).slice(1, 0, 4, 3)));
  CHECK_FALSE(overlaps_itself(counting({1, 4}).broadcast_to({1, 4})));
  CHECK(overlaps_itself(counting({1, 4}).broadcast_to({5, 4})));
  CHECK_FALSE(overlaps_itself(counting({1, 4}).broadcast_to({0, 4})));
  CHECK_FALSE(overlaps_itself(counting({1, 4}).broadcast_to({5, 4}).slice(0, 2, 3)));
  CHECK(overlaps_itself(strided({3, 3}, {1, 1})));        // 0 1 2, 1 2 3, ...
  CHECK_FALSE(overlaps_itself(strided({2, 3}, {3, 2})));  // 0 2 4, 3 5 7
  CHECK(overlaps_itself(strided({3, 4}, {3, 2})));        // 6 is at [0, 3) and at [2, 0]
  CHECK_FALSE(overlaps_itself(strided({3, 1}, {1, 0})));
}

TEST_CASE("tensors share memory exactly if an element of each lies at one place") {
  const Tensor table = counting({4, 2});
  const Tensor left = table.slice(1, 0, 1), right = table.slice(1, 1, 2);
  CHECK_FALSE(share_memory(left, right));
  CHECK(share_memory(left, table));
  CHECK(share_memory(left, left));
  CHECK_FALSE(share_memory(table.slice(0, 0, 2), table.slice(0, 2, 4)));
  CHECK(share_memory(table.slice(0, 0, 3), table.slice(0, 2, 4)));
  CHECK_FALSE(share_memory(table, table.clone()));
  CHECK_FALSE(share_memory(table, Tensor()));
  CHECK_FALSE(share_memory(table, table.slice(0, 2, 2)));
  CHECK(share_memory(right, right.slice(0, 1, 2).broadcast_to({5, 1})));
}

TEST_CASE("what overlaps itself is not written, and nothing changes") {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::i64, DType::u8}) {
    for_each_device_in(dtype, [&](TensorOptions options) {
      const Tensor base = counting({4}, options);
      Tensor rows = base.broadcast_to({5, 4}), columns = base.reshape({4, 1}).broadcast_to({4, 3});
      const std::uint64_t version = base.storage().version();
      CHECK(mentions(error_of([&] { rows.add_(counting({5, 4}, options)); }), {"add_", "[5, 4]", "clone"}));
      CHECK(mentions(error_of([&] { rows.add_(ones({}, options)); }), {"add_"}));
      CHECK(mentions(error_of([&] { columns.copy_(counting({4, 3}, options)); }), {"copy_", "[4, 3]"}));
      CHECK(mentions(error_of([&] { rows.transpose(0, 1).copy_(rows.transpose(0, 1)); }), {"copy_"}));
      dispatch_any(dtype, [&]<typename T>() {
        CHECK(mentions(error_of([&] { rows.mutable_data<T>(); }), {"mutable_data", "[5, 4]"}));
      });
      CHECK(base.to_vector<double>() == Values{0, 1, 2, 3});
      CHECK(base.storage().version() == version);
      // One value everywhere is not lost, as in PyTorch.
      rows.slice(1, 1, 3).fill_(7);
      CHECK(base.to_vector<double>() == Values{0, 7, 7, 3});
      rows.zero_();
      CHECK(base.to_vector<double>() == Values(4, 0.0));
      // One row of it is like any other tensor.
      rows.slice(0, 2, 3).copy_(counting({1, 4}, options));
      CHECK(base.to_vector<double>() == Values{0, 1, 2, 3});
    });
  }
}

TEST_CASE("a source that shares memory with the target counts as read before") {
  for (DType dtype : {DType::f32, DType::f64, DType::f16, DType::i64}) {
    for_each_device_in(dtype, [&](TensorOptions options) {
      Tensor x = counting({6}, options);
      x.slice(0, 0, 5).copy_(x.slice(0, 1, 6));
      CHECK(x.to_vector<double>() == Values{1, 2, 3, 4, 5, 5});
      Tensor y = counting({2, 3}, options);
      y.slice(1, 1, 3).add_(y.slice(1, 0, 2));
      CHECK(y.to_vector<double>() == Values{0, 1, 3, 3, 7, 9});
      Tensor z = counting({2, 2}, options);
      z.add_(z.transpose(0, 1));
      CHECK(z.to_vector<double>() == Values{0, 3, 3, 6});
      Tensor first = counting({3}, options);
      first.add_(first.slice(0, 2, 3), -1);
      CHECK(first.to_vector<double>() == Values{-2, -1, 0});
      Tensor itself = counting({3}, options);
      itself.add_(itself).copy_(itself);
      CHECK(itself.to_vector<double>() == Values{0, 2, 4});
      Tensor left = counting({3, 2}, options);
      left.slice(1, 0, 1).copy_(left.slice(1, 1, 2));
      CHECK(left.to_vector<double>() == Values{1, 1, 3, 3, 5, 5});
    });
  }
}

TEST_CASE("integers are filled with what they can hold") {
  CHECK(full({1}, 2.9, {DType::i64}).item() == 2);
  CHECK(full({1}, -1, {DType::u8}).item() == 255);
  CHECK(full({1}, -0x1p63, {DType::i64}).item() == -0x1p63);
  for (double value : {0x1p63, std::numeric_limits<double>::quiet_NaN(), -0x1p64}) {
    CHECK(mentions(error_of([&] { full({1}, value, {DType::i64}); }), {"fill_", "i64"}));
  }
  CHECK(mentions(error_of([&] { full({1}, 256, {DType::u8}); }), {"fill_", "256", "u8"}));
  Tensor x = counting({2}, {DType::i64});
  CHECK(mentions(error_of([&] { x.add_(x, 0.5); }), {"add_", "0.5", "i64"}));
  for (double alpha : {std::numeric_limits<double>::infinity(), 1e30})
    CHECK(mentions(error_of([&] { x.add_(x, alpha); }), {"add_", "alpha", "i64"}));
  Tensor bytes = counting({2}, {DType::u8});
  CHECK(mentions(error_of([&] { bytes.add_(bytes, 300); }), {"add_", "alpha", "300", "u8"}));
  CHECK(x.to_vector<double>() == Values{0, 1});
}

TEST_CASE("numbers that would become infinite are no values to fill with") {
  const double inf = std::numeric_limits<double>::infinity();
  for (const auto& [dtype, most] :
       {std::pair{DType::f32, 3.4e38}, {DType::bf16, 3.38e38}, {DType::f16, 65504.0}}) {
    const std::string name(name_of(dtype));
    INFO(name);
    for (double sign : {1.0, -1.0}) {
      CHECK(std::abs(full({1}, sign * most, {dtype}).item() / most - sign) < 0.01);
      CHECK(full({1}, sign * inf, {dtype}).item() == sign * inf);
      for (double value : {1.01 * most, 1e300}) {
        CHECK(mentions(error_of([&] { full({1}, sign * value, {dtype}); }),
                       {"fill_", "is no value for " + name}));
      }
    }
    CHECK(std::isnan(full({1}, std::numeric_limits<double>::quiet_NaN(), {dtype}).item()));
  }
  CHECK(full({1}, 1e300, {DType::f64}).item() == 1e300);
  Tensor x = zeros({1});
  CHECK(mentions(error_of([&] { x.add_(x, 1e300); }), {"add_", "alpha", "1e+300", "f32"}));
  Tensor half = zeros({1}, {DType::f16});
  half.add_(full({1}, 0.5, {DType::f16}), 1e5);  // a factor is an f32
  CHECK(half.item() == 49984);
}

namespace {

/// x[i][c] = c + i, as in the expected values below.
Tensor four_rows(TensorOptions options) { return counting({4, 1}, options) + counting({3}, options); }
const Values kMean{1.5, 2.5, 3.5};
const Values kVar(3, 5.0 / 3);

void check_statistics(const Tensor& mean, const Tensor& var) {
  for (int c = 0; c < 3; ++c) {
    CHECK(std::abs(mean.to_vector<double>()[c] - kMean[c]) <= 1e-6);
    CHECK(std::abs(var.to_vector<double>()[c] - kVar[c]) <= 1e-6);
  }
}

}  // namespace

TEST_CASE("batch norm updates running statistics that are views") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = four_rows(options);
    const auto train = [&](const Tensor& mean, const Tensor& var) {
      return batch_norm(x, mean, var, {}, {}, true, 1.0);
    };
    const Tensor table = zeros({3, 2}, options);
    train(table.slice(1, 0, 1).reshape({3}), table.slice(1, 1, 2).reshape({3}));
    check_statistics(table.slice(1, 0, 1).reshape({3}), table.slice(1, 1, 2).reshape({3}));
    const Tensor wide = zeros({3, 4}, options);
    train(wide.slice(1, 1, 2).reshape({3}), wide.slice(1, 3, 4).reshape({3}));
    check_statistics(wide.slice(1, 1, 2).reshape({3}), wide.slice(1, 3, 4).reshape({3}));
    CHECK(sum(wide, {0}).to_vector<double>()[0] == 0);
  });
}

TEST_CASE("batch norm refuses running statistics that overlap, before anything is written") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = four_rows(options), base = full({1}, 5, options), own = full({3}, 6, options);
    const Tensor repeated = base.broadcast_to({3}), shifted = full({4}, 7, options);
    const auto train = [&](const Tensor& mean, const Tensor& var) {
      return error_of([&] { batch_norm(x, mean, var, {}, {}, true, 1.0); });
    };
    CHECK(mentions(train(repeated, own), {"batch_norm", "clone"}));
    CHECK(mentions(train(own, repeated), {"batch_norm", "clone"}));
    CHECK(mentions(train(own, own), {"batch_norm", "share memory"}));
    CHECK(mentions(train(shifted.slice(0, 0, 3), shifted.slice(0, 1, 4)), {"batch_norm", "share memory"}));
    CHECK(base.item() == 5);
    CHECK(own.to_vector<double>() == Values(3, 6.0));
    CHECK(shifted.to_vector<double>() == Values(4, 7.0));
    // Evaluation only reads.
    const std::uint64_t version = base.storage().version();
    const Tensor y = batch_norm(x, repeated, repeated, {}, {}, false, 0.1, 0);
    CHECK(std::abs(y.to_vector<double>()[0] - (0 - 5) / std::sqrt(5.0)) <= 1e-6);
    CHECK(base.storage().version() == version);
  });
}

TEST_CASE("batch norm reads gamma and x before it writes statistics there") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = four_rows(options), var = zeros({3}, options);
    Tensor gamma = full({3}, 2, options);
    const Tensor expected = batch_norm(x, zeros({3}, options), zeros({3}, options), gamma, {}, true, 1.0);
    CHECK(same_bits(batch_norm(x, gamma, var, gamma, {}, true, 1.0), expected));
    check_statistics(gamma, var);
    // The statistics lie in the last row of x.
    const Tensor rows = leaf(x.clone());
    Tensor last = rows.detach().slice(0, 3, 4).reshape({3});
    const Tensor y = batch_norm(rows, last, var, full({3}, 2, options), {}, true, 1.0);
    CHECK(same_bits(y.detach(), expected));
    check_statistics(last, var);
    y.backward(ones(y.shape(), options));
    CHECK(close(rows.grad(), to_array(zeros(y.shape(), options)), 1e-5, 1));
  });
}

TEST_CASE("classification totals may be a view") {
  for_each_kind([](TensorOptions options) {
    const Tensor logits = from_vector<float>({0, 1, 1, 0, 3, 2}, {3, 2}).to(options.device).to(options.dtype);
    const Tensor target = from_vector<std::int64_t>({1, 1, 0}, {3}, options.device);
    const Tensor table = zeros({2, 3}, {DType::f64, options.device});
    Tensor totals = table.slice(1, 1, 2).reshape({2});
    add_classification_totals(totals, logits, target, full({}, 0.5, options));
    CHECK(table.to_vector<double>() == Values{0, 1.5, 0, 0, 2, 0});
    Tensor repeated = zeros({1}, {DType::f64, options.device}).broadcast_to({2});
    CHECK(mentions(
        error_of([&] { add_classification_totals(repeated, logits, target, full({}, 0.5, options)); }),
        {"add_classification_totals"}));
    CHECK(repeated.to_vector<double>() == Values{0, 0});
  });
}

TEST_CASE("SGD steps only what it can walk") {
  Tensor p = leaf(counting({2, 3}));
  optim::SGD sgd({p}, {.lr = 1, .momentum = 0.5});
  sum(p).backward();
  sgd.step();
  CHECK(p.to_vector<double>() == Values{-1, 0, 1, 2, 3, 4});
  SECTION("a gradient of another shape") {
    p.set_data(counting({100000}));
    CHECK(mentions(error_of([&] { sgd.step(); }), {"SGD", "[2, 3]", "[100000]"}));
  }
  SECTION("a parameter that is not dense any more") {
    p.set_data(counting({3, 2}).transpose(0, 1));
    CHECK(mentions(error_of([&] { sgd.step(); }), {"SGD", "dense"}));
  }
  SECTION("a buffer of another shape") {
    p.set_data(counting({4}));
    p.zero_grad();
    sum(p).backward();
    CHECK(mentions(error_of([&] { sgd.step(); }), {"SGD", "momentum buffer", "[2, 3]", "[4]"}));
  }
}
