// Gradients that do not fit are refused by the engine, and whatever is wrong with a function by gradcheck.
#include "evenkeel/core/gradcheck.h"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "compare.h"
#include "evenkeel/core/autograd.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/core/random.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

using Inputs = std::vector<Tensor>;
const double kNaN = std::numeric_limits<double>::quiet_NaN();

/// 2 x[0], with a backward that the test chooses.
Tensor custom_op(const Inputs& x, autograd::BackwardFn backward) {
  Tensor y = x[0].detach() * 2.0;
  std::vector<const Tensor*> inputs;
  for (const Tensor& input : x) inputs.push_back(&input);
  autograd::record("custom_op", y, inputs, std::move(backward));
  return y;
}

Tensor random_leaf(const Shape& shape, TensorOptions options = {DType::f64}) {
  return leaf(Random().normal(shape, options));
}

}  // namespace

TEST_CASE("a gradient that does not fit its input is refused, naming the op, the input and both shapes") {
  for_each_kind([](TensorOptions options) {
    Tensor a = leaf(zeros({100000}, options)), b = leaf(zeros({3, 4}, options));
    const auto message = [&](const Tensor& da, const Tensor& db) {
      a.zero_grad();
      b.zero_grad();
      const Tensor y = sum(custom_op({a, b}, [=](const Tensor&) { return Inputs{da, db}; }));
      const std::string text = error_of([&] { y.backward(); });
      CHECK_FALSE(a.grad().defined());  // not even the one that fits
      CHECK_FALSE(b.grad().defined());
      return text;
    };
    const Tensor da = zeros({100000}, options), db = zeros({3, 4}, options);
    CHECK(mentions(message(ones({1}, options), db), {"custom_op", "input 0", "[1]", "[100000]"}));
    CHECK(mentions(message(da, zeros({12}, options)), {"custom_op", "input 1", "[12]", "[3, 4]"}));
    CHECK(mentions(message(da, zeros({4, 3}, options)), {"custom_op", "input 1", "[4, 3]", "[3, 4]"}));
    CHECK(mentions(message(da, zeros({1, 3, 4}, options)), {"custom_op", "input 1", "[1, 3, 4]"}));
    const DType other = options.dtype == DType::f32 ? DType::f64 : DType::f32;
    CHECK(mentions(message(da, db.to(other)), {"custom_op", "input 1", std::string(name_of(other)),
                                               std::string(name_of(options.dtype))}));
    CHECK(mentions(message(da, Tensor()), {"custom_op", "no gradient", "input 1"}));
    for (Device device : devices()) {
      if (device != options.device)
        CHECK(mentions(message(da, db.to(device)), {"custom_op", "input 1", device.str()}));
    }
  });
}

TEST_CASE("an op gives as many gradients as it has inputs") {
  const Tensor a = random_leaf({2}), constant = zeros({2}, {DType::f64});
  const auto run = [&](const Inputs& gradients) {
    sum(custom_op({a, constant}, [=](const Tensor&) { return gradients; })).backward();
  };
  const Tensor g = ones({2}, {DType::f64});
  run({g, Tensor()});
  run({g, zeros({7})});  // nobody wants it
  CHECK(mentions(error_of([&] { run({g}); }), {"custom_op", "1 gradients", "2 inputs"}));
  CHECK(mentions(error_of([&] { run({g, g, g}); }), {"custom_op", "3 gradients", "2 inputs"}));
}

TEST_CASE("gradients may have any strides") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = leaf(zeros({3, 4}, options));
    const auto gradient = [&](const Tensor& dx) {
      Tensor(x).zero_grad();
      custom_op({x}, [=](const Tensor&) { return Inputs{dx}; }).backward(zeros({3, 4}, options));
      CHECK(x.grad().shape() == x.shape());
      return x.grad().to_vector<double>();
    };
    CHECK(gradient(ones({}, options).broadcast_to({3, 4})) == std::vector<double>(12, 1.0));
    const Tensor t = arange(0, 12).to(options.dtype).to(options.device).reshape({4, 3}).transpose(0, 1);
    CHECK(gradient(t) == t.to_vector<double>());
  });
}

TEST_CASE("a leaf whose data changed does not mix gradients") {
  Tensor x = random_leaf({3});
  sum(x).backward();
  x.set_data(zeros({1}, {DType::f64}));
  CHECK(mentions(error_of([&] { sum(x).backward(); }), {"backward", "[3]", "[1]", "zero_grad"}));
  x.set_data(zeros({3}, {DType::f32}));
  CHECK(mentions(error_of([&] { sum(x).backward(); }), {"backward", "f64", "f32", "zero_grad"}));
  x.zero_grad();
  sum(x).backward();
  CHECK(x.grad().dtype() == DType::f32);
}

TEST_CASE("gradcheck reports gradients that do not fit") {
  for_each_device([](TensorOptions options) {
    const Tensor x = random_leaf({3, 4}, options);
    const auto check = [&](auto backward) {
      return gradcheck([&](const Inputs& in) { return custom_op({in[0]}, backward); }, {x});
    };
    CHECK(check([](const Tensor& dy) { return Inputs{dy * 2.0}; }));
    const auto flat = check([](const Tensor& dy) { return Inputs{(dy * 2.0).reshape({12})}; });
    CHECK_FALSE(flat);
    CHECK(mentions(flat.message, {"custom_op", "[12]", "[3, 4]"}));
    const auto f32 = check([](const Tensor& dy) { return Inputs{(dy * 2.0).to(DType::f32)}; });
    CHECK_FALSE(f32);
    CHECK(mentions(f32.message, {"custom_op", "f32", "f64"}));
    CHECK_FALSE(check([](const Tensor& dy) { return Inputs{sum(dy * 2.0, {0})}; }));
    CHECK_FALSE(check([](const Tensor&) { return Inputs{}; }));
    CHECK_FALSE(check([](const Tensor& dy) { return Inputs{dy * kNaN}; }));
    CHECK(x.requires_grad());
  });
}

TEST_CASE("gradcheck knows outputs that do not depend on an input") {
  const Tensor a = random_leaf({2}), b = random_leaf({2});
  const Tensor constant = ones({2}, {DType::f64});
  CHECK(gradcheck([](const Inputs& in) { return in[0] * 3.0; }, {a, b}));
  CHECK(gradcheck([&](const Inputs&) { return constant * 3.0; }, {a}));
  CHECK_FALSE(gradcheck([](const Inputs& in) { return in[0].detach() * 3.0; }, {a}));
  CHECK_FALSE(gradcheck([](const Inputs& in) { return in[0] * in[1].detach(); }, {a, b}));
}

TEST_CASE("gradcheck reports what differs from call to call") {
  const Tensor x = random_leaf({2});
  int calls = 0;
  const auto output = gradcheck([&](const Inputs& in) { return in[0] + 1e-3 * ++calls; }, {x});
  CHECK_FALSE(output);
  CHECK(mentions(output.message, {"deterministic", "outputs"}));
  const auto backward = gradcheck(
      [&](const Inputs& in) {
        return custom_op({in[0]}, [&](const Tensor& dy) { return Inputs{dy * (2 + 1e-12 * ++calls)}; });
      },
      {x});
  CHECK_FALSE(backward);
  CHECK(mentions(backward.message, {"deterministic", "input 0"}));
}

TEST_CASE("gradcheck refuses what it cannot check") {
  const Tensor x = random_leaf({2});
  const auto identity = [](const Inputs& in) { return in[0] * 1.0; };
  CHECK(mentions(error_of([&] { gradcheck([](const Inputs&) { return Tensor(); }, {x}); }),
                 {"gradcheck", "undefined"}));
  CHECK(mentions(error_of([&] { gradcheck([](const Inputs& in) { return in[0].to(DType::f32); }, {x}); }),
                 {"gradcheck", "f32"}));
  CHECK(
      mentions(error_of([&] { gradcheck(identity, {ones({2}, {DType::f64})}); }), {"gradcheck", "no input"}));
  CHECK(mentions(error_of([&] { gradcheck(identity, {}); }), {"gradcheck", "no input"}));
  Tensor repeated = ones({1}, {DType::f64}).broadcast_to({3}).requires_grad_();
  CHECK(mentions(error_of([&] { gradcheck(identity, {repeated}); }), {"gradcheck", "dense"}));
  CHECK(gradcheck(identity, {x, Tensor()}));
}

TEST_CASE("gradcheck of nothing is right, and inputs come back after an error") {
  for (const Shape& shape : {Shape{0}, Shape{3, 0}, Shape{0, 2}}) {
    const Tensor x = random_leaf(shape);
    CHECK(gradcheck([](const Inputs& in) { return in[0] * 2.0; }, {x}));
    CHECK(gradcheck([](const Inputs& in) { return sum(in[0]); }, {x}));
  }
  const Tensor x = random_leaf({2});
  const std::vector<double> before = x.to_vector<double>();
  int calls = 0;
  CHECK_THROWS_AS(gradcheck(
                      [&](const Inputs& in) {
                        EK_CHECK(++calls < 4, "enough");
                        return in[0] * 1.0;
                      },
                      {x}),
                  Error);
  CHECK(x.to_vector<double>() == before);
}

TEST_CASE("gradcheck finds a function that is another when nothing is recorded") {
  const auto other = [](const Inputs& in) {
    return grad_enabled() ? in[0] * 2.0 + in[0].detach() : in[0] * 2.0;
  };
  const GradcheckResult result = gradcheck(other, {random_leaf({3})});
  CHECK(!result.ok);
  CHECK(mentions(result.message, {"no gradient is recorded"}));
}

TEST_CASE("whatever a backward throws is what is wrong with it") {
  const auto throws = [](const Inputs& in) {
    return custom_op(in, [](const Tensor&) -> std::vector<Tensor> { throw std::runtime_error("not today"); });
  };
  const GradcheckResult result = gradcheck(throws, {random_leaf({3})});
  CHECK(!result.ok);
  CHECK(result.message == "not today");
}

TEST_CASE("gradcheck leaves the gradients that inputs have") {
  const Tensor x = random_leaf({2}), fresh = random_leaf({2});
  sum(x).backward();
  CHECK(gradcheck([](const Inputs& in) { return in[0] * in[1] * 3.0; }, {x, fresh}));
  CHECK(x.grad().to_vector<double>() == std::vector<double>{1, 1});
  CHECK(!fresh.grad().defined());
}

TEST_CASE("gradcheck fails if the function stops its input from having a gradient") {
  const auto freezes = [](const Inputs& in) {
    Tensor(in[0]).requires_grad_(false);
    return in[0].detach() * 5.0;
  };
  const GradcheckResult result = gradcheck(freezes, {random_leaf({3})});
  CHECK(!result.ok);
  CHECK(mentions(result.message, {"input 0", "requires a gradient"}));
}
