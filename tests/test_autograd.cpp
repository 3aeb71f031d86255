// The engine: accumulation, shapes of graphs, freeing, guards, and gradcheck itself.
#include "evenkeel/core/autograd.h"

#include <cmath>
#include <limits>

#include "compare.h"
#include "evenkeel/core/ops.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

using Values = std::vector<double>;
using Inputs = std::vector<Tensor>;

Tensor make(const Values& values, TensorOptions options = {DType::f64}) {
  return from_vector(values, {static_cast<std::int64_t>(values.size())}).to(options.dtype).to(options.device);
}

/// y = x, with a backward that the test chooses.
Tensor op_with_backward(const Tensor& x, autograd::BackwardFn backward) {
  Tensor y = x.detach().clone();
  autograd::record("test_op", y, {&x}, std::move(backward));
  return y;
}

}  // namespace

TEST_CASE("gradients accumulate until they are zeroed") {
  for_each_kind([](TensorOptions options) {
    Tensor x = leaf(make({1, 2}, options));
    CHECK_FALSE(x.grad().defined());
    sum(x * x).backward();
    CHECK(x.grad().to_vector<double>() == Values{2, 4});
    sum(x * 3.0).backward();
    CHECK(x.grad().to_vector<double>() == Values{5, 7});
    x.zero_grad();
    CHECK_FALSE(x.grad().defined());
    sum(x).backward();
    CHECK(x.grad().to_vector<double>() == Values{1, 1});
    CHECK(x.grad().dtype() == options.dtype);
  });
}

TEST_CASE("a gradient that was read does not change when another arrives for a different leaf") {
  Tensor a = leaf(make({1, 2})), b = leaf(make({3, 4}));
  sum(a + b).backward();  // both get the same dy
  b.grad().fill_(100);
  CHECK(a.grad().to_vector<double>() == Values{1, 1});
  const Tensor dy = make({5, 6});
  a.zero_grad();
  (a + b).backward(dy);
  (a + b).backward(dy);
  CHECK(dy.to_vector<double>() == Values{5, 6});
  CHECK(a.grad().to_vector<double>() == Values{10, 12});
}

TEST_CASE("a tensor used many times sums its gradients") {
  for_each_kind([](TensorOptions options) {
    Tensor x = leaf(make({3}, options));
    const Tensor left = x * 2.0, right = x * x;
    const Tensor joined = left * right + left;  // 2x^3 + 2x
    sum(joined).backward();
    CHECK(x.grad().to_vector<double>() == Values{56});  // 6x^2 + 2

    Tensor z = leaf(make({2}, options));
    sum(z * z * z + z).backward();
    CHECK(z.grad().to_vector<double>() == Values{13});
  });
}

TEST_CASE("a ladder of diamonds is walked once per op, not once per path") {
  Tensor x = leaf(make({1}));
  Tensor y = x;
  for (int i = 0; i < 60; ++i) y = y + y;  // 2^60 paths
  y.backward();
  CHECK(x.grad().item() == 0x1p60);
}

TEST_CASE("an op runs its backward only after all its uses have") {
  Tensor x = leaf(make({1}));
  int calls = 0;
  const Tensor shared = op_with_backward(x, [&calls](const Tensor& dy) {
    ++calls;
    return std::vector{dy};
  });
  // The short path reaches `shared` long before the long one.
  Tensor longer = shared;
  for (int i = 0; i < 5; ++i) longer = longer * 2.0;
  (shared + longer).backward();
  CHECK(calls == 1);
  CHECK(x.grad().item() == 33);
}

TEST_CASE("a chain of 100000 ops needs no deep stack") {
  constexpr int kOps = 100000;
  SECTION("in backward") {
    Tensor x = leaf(make({1}));
    Tensor y = x;
    for (int i = 0; i < kOps; ++i) y = y + 1.0;
    y.backward();
    CHECK(y.item() == kOps + 1);
    CHECK(x.grad().item() == 1);
  }
  SECTION("when the graph is dropped") {
    Tensor x = leaf(make({1}));
    {
      Tensor y = x;
      for (int i = 0; i < kOps; ++i) y = y + 1.0;
    }
    CHECK_FALSE(x.grad().defined());
  }
  SECTION("when a graph is dropped in which each op uses its input twice") {
    Tensor x = leaf(make({1}));
    {
      Tensor y = x;
      for (int i = 0; i < kOps; ++i) y = y * y;
    }
    CHECK_FALSE(x.grad().defined());
  }
  SECTION("when ops keep their outputs") {
    Tensor x = leaf(make({4}));
    {
      Tensor y = x;
      for (int i = 0; i < kOps; ++i) y = sqrt(y);
    }
    CHECK_FALSE(x.grad().defined());
  }
}

TEST_CASE("NoGrad records nothing, nests, and ends with its scope") {
  const Tensor x = leaf(make({1}));
  {
    const NoGrad outer;
    CHECK_FALSE(grad_enabled());
    {
      const NoGrad inner;
      CHECK_FALSE((x * 2.0).requires_grad());
    }
    CHECK_FALSE(grad_enabled());
    CHECK_FALSE((x * 2.0).requires_grad());
    CHECK_FALSE(x.reshape({1, 1}).requires_grad());
  }
  CHECK(grad_enabled());
  CHECK((x * 2.0).requires_grad());
}

TEST_CASE("detach cuts the graph and shares the memory") {
  Tensor x = leaf(make({2}));
  const Tensor cut = (x * 3.0).detach();
  CHECK_FALSE(cut.requires_grad());
  sum(cut * x).backward();
  CHECK(x.grad().item() == 6);
  CHECK(x.detach().storage() == x.storage());
}

TEST_CASE("what needs no gradient gets none") {
  Tensor x = leaf(make({2})), constant = make({5});
  const Tensor y = x * constant;
  CHECK(y.requires_grad());
  CHECK_FALSE((constant * constant).requires_grad());
  y.backward();
  CHECK(x.grad().item() == 5);
  CHECK_FALSE(constant.grad().defined());
}

TEST_CASE("backward frees the graph, and says so when it is asked again") {
  Tensor x = leaf(make({2}));
  const Tensor middle = x * x;
  const Tensor y = middle + 1.0;
  y.backward();
  CHECK(mentions(error_of([&] { y.backward(); }), {"backward", "freed"}));
  CHECK(mentions(error_of([&] { (middle * 2.0).backward(); }), {"backward", "freed"}));
  CHECK(x.grad().item() == 4);  // the failures added nothing
}

TEST_CASE("backward frees what the ops saved") {
  const auto count = std::make_shared<int>(0);
  Tensor x = leaf(make({2}));
  const Tensor y = op_with_backward(x, [count](const Tensor& dy) { return std::vector{dy}; });
  CHECK(count.use_count() == 2);
  y.backward();
  CHECK(count.use_count() == 1);
}

TEST_CASE("a saved tensor that was changed in place is refused") {
  Tensor x = leaf(make({2})), factor = make({3});
  const Tensor y = x * factor;
  factor.fill_(4);
  CHECK(mentions(error_of([&] { y.backward(); }), {"backward", "in place"}));

  Tensor whole = make({1, 2});
  const Tensor z = leaf(make({1, 1})) * whole;
  whole.slice(0, 0, 1).add_(make({1}));  // through a view
  CHECK(mentions(error_of([&] { z.backward(make({1, 1})); }), {"backward", "in place"}));

  const Tensor e = exp(x);
  {
    const NoGrad guard;
    Tensor(e).fill_(0);  // exp saves its output
  }
  CHECK(mentions(error_of([&] { e.backward(); }), {"backward", "in place"}));
}

TEST_CASE("a change in place that no op needs is harmless") {
  Tensor x = leaf(make({2})), other = make({3});
  const Tensor y = x + other;
  other.fill_(100);
  y.backward();
  CHECK(x.grad().item() == 1);
}

TEST_CASE("an op without backward works until backward reaches it") {
  const Tensor x = leaf(make({2}));
  const Tensor y = op_with_backward(x, nullptr) * x;
  CHECK(y.item() == 4);
  CHECK(mentions(error_of([&] { y.backward(); }), {"test_op", "no backward"}));
}

TEST_CASE("a comparison is a constant") {
  const Tensor x = leaf(tensor({1, 2, 3})), c = tensor({1, 5, 3});
  (sum(x * equal(x, c)) + sum(equal(x, x)) * 0.5).backward();
  CHECK(x.grad().to_vector<double>() == std::vector<double>{1, 0, 1});
}

TEST_CASE("what a change in place would not record is refused") {
  const Tensor x = leaf(tensor({1, 2}));
  Tensor t = zeros({2});
  CHECK(mentions(error_of([&] { t.add_(x * 2.0); }), {"add_", "gradient", "NoGrad"}));
  CHECK(
      mentions(error_of([&] { t.slice(0, 0, 1).copy_(x.slice(0, 1, 2)); }), {"copy_", "gradient", "detach"}));
  CHECK(t.to_vector<double>() == std::vector<double>{0, 0});
  t.copy_(x.detach());
  const NoGrad guard;
  t.add_(x, 2);
  CHECK(t.to_vector<double>() == std::vector<double>{3, 6});
}

TEST_CASE("the gradient of a quotient overflows only where it is too large") {
  const Tensor a = leaf(full({}, 1e38)), b = leaf(full({}, 1e20));
  (a / b).backward(full({}, 1e25));
  CHECK(std::abs(b.grad().item() / -1e23 - 1) <= 1e-6);
}

TEST_CASE("an op whose backward forgets an input is an error, not a zero") {
  const Tensor x = leaf(make({2}));
  CHECK(mentions(error_of([&] { op_with_backward(x, [](const Tensor&) { return Inputs{}; }).backward(); }),
                 {"test_op", "no gradient"}));
  CHECK(mentions(error_of([&] { op_with_backward(x, [](const Tensor&) { return Inputs{{}}; }).backward(); }),
                 {"test_op", "no gradient"}));
}

TEST_CASE("backward checks what it starts from") {
  Tensor x = leaf(make({1, 2}));
  CHECK(mentions(error_of([&] { (x * x).backward(); }), {"backward", "[2]"}));
  CHECK(mentions(error_of([&] { (x * x).backward(make({1, 2, 3})); }), {"backward", "[3]", "[2]"}));
  CHECK(mentions(error_of([&] { x.backward(make({1, 1}, {DType::f32})); }), {"backward", "f32", "f64"}));
  CHECK(mentions(error_of([] { make({1}).backward(); }), {"backward", "gradient"}));
  CHECK_FALSE(x.grad().defined());
  (x * x).backward(make({1, 10}));
  CHECK(x.grad().to_vector<double>() == Values{2, 40});
  x.zero_grad();
  x.backward(make({7, 8}));  // a leaf is its own graph
  CHECK(x.grad().to_vector<double>() == Values{7, 8});
}

TEST_CASE("changes in place are refused on tensors that require a gradient") {
  Tensor x = leaf(make({1, 2}));
  CHECK(mentions(error_of([&] { x.fill_(0); }), {"fill_", "NoGrad"}));
  CHECK(mentions(error_of([&] { x.zero_(); }), {"fill_", "NoGrad"}));
  CHECK(mentions(error_of([&] { x.copy_(make({1, 2})); }), {"copy_", "NoGrad"}));
  CHECK(mentions(error_of([&] { x.add_(make({1, 2})); }), {"add_", "NoGrad"}));
  CHECK(mentions(error_of([&] { x.slice(0, 0, 1).fill_(0); }), {"fill_", "NoGrad"}));
  CHECK(mentions(error_of([&] { (x * 2.0).fill_(0); }), {"fill_", "NoGrad"}));
  const NoGrad guard;
  x.add_(make({1, 1}));
  CHECK(x.to_vector<double>() == Values{2, 3});
}

TEST_CASE("requires_grad_ is for floating-point leaves") {
  CHECK(mentions(error_of([] { zeros({2}, {DType::i64}).requires_grad_(); }), {"requires_grad_", "i64"}));
  Tensor x = leaf(make({1}));
  Tensor y = x * 2.0;
  CHECK(mentions(error_of([&] { y.requires_grad_(false); }), {"requires_grad_", "mul", "leaf"}));
  x.requires_grad_(false);
  CHECK_FALSE(x.requires_grad());
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("gradients flow through views and copies") {
  for_each_device([](TensorOptions options) {
    const Inputs x{leaf(Random().normal({2, 3, 4}, options))};
    const Tensor weights = Random(2).normal({2, 3, 4}, options);
    const auto check = [&](const char* name, auto fn) {
      INFO(name);
      CHECK(gradcheck([&](const Inputs& in) { return fn(in[0]); }, x));
    };
    check("reshape", [](const Tensor& in) { return in.reshape({4, -1}); });
    check("reshape that copies", [](const Tensor& in) { return in.transpose(0, 2).reshape({24}); });
    check("transpose", [](const Tensor& in) { return in.transpose(0, -1); });
    check("permute", [](const Tensor& in) { return in.permute({1, 2, 0}); });
    check("slice", [](const Tensor& in) { return in.slice(1, 1, 3); });
    check("slice with a step", [](const Tensor& in) { return in.slice(2, 0, 4, 3).slice(0, -1, 2); });
    check("empty slice", [](const Tensor& in) { return in.slice(0, 1, 1); });
    check("broadcast_to", [](const Tensor& in) { return in.slice(1, 0, 1).broadcast_to({5, 2, 3, 4}); });
    check("clone", [](const Tensor& in) { return in.clone(); });
    check("contiguous", [](const Tensor& in) { return in.transpose(1, 2).contiguous(); });
    check("overlapping slices", [](const Tensor& in) { return in.slice(2, 0, 3) * in.slice(2, 1, 4); });
    check("views of views", [&](const Tensor& in) {
      return (in * weights).transpose(0, 1).reshape({3, 8}) * 2.0;
    });
  });
}

TEST_CASE("to(dtype) carries the gradient back in the leaf's dtype") {
  Tensor x = leaf(make({1, 2}, {DType::f32}));
  sum(x.to(DType::f64) * make({3, 4})).backward();
  CHECK(x.grad().dtype() == DType::f32);
  CHECK(x.grad().to_vector<double>() == Values{3, 4});
}

TEST_CASE("gradcheck fails on a wrong gradient, however it is wrong") {
  for_each_device([](TensorOptions options) {
    const Tensor x = leaf(Random().normal({3, 4}, options));
    const auto check = [&](const char* name, bool ok, autograd::BackwardFn backward) {
      INFO(name);
      const auto result = gradcheck([&](const Inputs& in) { return op_with_backward(in[0], backward); }, {x});
      CHECK(result.ok == ok);
      CHECK(result.message.empty() == ok);
    };
    const double nan = std::numeric_limits<double>::quiet_NaN();
    check("right", true, [](const Tensor& dy) { return Inputs{dy}; });
    check("sign", false, [](const Tensor& dy) { return Inputs{-dy}; });
    check("scaled by a thousandth", false, [](const Tensor& dy) { return Inputs{dy * 1.001}; });
    check("zero", false, [](const Tensor& dy) { return Inputs{zeros_like(dy)}; });
    check("NaN everywhere", false, [=](const Tensor& dy) { return Inputs{dy * nan}; });
    check("one element wrong", false, [](const Tensor& dy) {
      Tensor dx = dy.contiguous().clone();
      dx.slice(0, 1, 2).slice(1, 2, 3).add_(ones({1, 1}, dy.options()), 0.01);
      return Inputs{dx};
    });
    check("one element NaN", false, [=](const Tensor& dy) {
      Tensor dx = dy.contiguous().clone();
      dx.slice(0, 2, 3).slice(1, 3, 4).fill_(nan);
      return Inputs{dx};
    });
  });
}

TEST_CASE("gradcheck holds small gradients to its absolute tolerance") {
  const auto off_by = [](double error) {
    const auto fn = [error](const Inputs& in) {
      return op_with_backward(in[0] * 1e-3, [error](const Tensor& dy) { return Inputs{dy + error * 1e3}; });
    };
    return gradcheck(fn, {leaf(make({1, -2, 3}))}).ok;
  };
  CHECK(off_by(0));
  CHECK(off_by(5e-7));
  CHECK_FALSE(off_by(5e-6));
  CHECK_FALSE(off_by(-5e-6));
}

TEST_CASE("gradcheck fails where central differences are not finite") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Inputs x{leaf(make({1, 2}))};
  CHECK_FALSE(gradcheck([&](const Inputs& in) { return in[0] * nan; }, x));
  CHECK_FALSE(gradcheck([](const Inputs& in) { return log(in[0] - 5.0); }, x));
  // exp overflows between x and x + eps: infinity must not swallow the comparison.
  const Inputs at_the_edge{leaf(make({709.782712893}))};
  CHECK_FALSE(gradcheck([](const Inputs& in) { return exp(in[0]); }, at_the_edge));
}

TEST_CASE("gradcheck checks every input that wants a gradient and leaves them as they were") {
  const Tensor a = leaf(make({1, 2})), b = leaf(make({3, 4})), constant = make({5, 6});
  const Values before = b.to_vector<double>();
  CHECK(gradcheck([](const Inputs& in) { return in[0] * in[1] * in[2]; }, {a, b, constant}));
  CHECK(b.to_vector<double>() == before);
  // Wrong for the second input only.
  const auto wrong = [](const Inputs& in) {
    return in[0] + op_with_backward(in[1], [](const Tensor& dy) { return Inputs{dy * 2.0}; });
  };
  const auto result = gradcheck(wrong, {a, b});
  CHECK_FALSE(result);
  CHECK(mentions(result.message, {"input 1", "[2]"}));
  CHECK(result.worst > 0);
}

TEST_CASE("gradcheck refuses inputs on which it would be blunt") {
  const auto identity = [](const Inputs& in) { return in[0] * 1.0; };
  CHECK(mentions(error_of([&] { gradcheck(identity, {leaf(make({1}, {DType::f32}))}); }),
                 {"gradcheck", "f64"}));
  const Tensor x = leaf(make({1}));
  CHECK(mentions(error_of([&] { gradcheck(identity, {x * 2.0}); }), {"gradcheck", "leaves"}));
}

TEST_CASE("a leaf that is frozen and thawed has lost nothing") {
  const auto freeze = [](Tensor x) { x.requires_grad_(false); };
  Tensor w = leaf(make({1, 2}));
  Tensor before = sum(w * 3.0);
  freeze(w);
  CHECK_FALSE((w * 2.0).requires_grad());
  w.requires_grad_();
  before.backward();
  CHECK(w.grad().to_vector<double>() == Values{3, 3});
  Tensor meanwhile = sum(w * 7.0);
  freeze(w);
  CHECK(w.grad().to_vector<double>() == Values{3, 3});
  meanwhile.backward();  // collects nothing while it is frozen
  w.requires_grad_();
  sum(w * 5.0).backward();
  CHECK(w.grad().to_vector<double>() == Values{8, 8});
  freeze(w);
  w.zero_grad();
  CHECK_FALSE(w.grad().defined());
}

TEST_CASE("requires_grad_ that changes nothing is accepted") {
  CHECK_FALSE(arange(0, 3).requires_grad_(false).requires_grad());
  const Tensor x = leaf(make({1}));
  CHECK((x * 2.0).requires_grad_().requires_grad());
}

TEST_CASE("set_data is for what no backward counts on") {
  const Tensor x = leaf(ones({10, 10}));
  Tensor y = exp(x);
  CHECK(mentions(error_of([&] { y.set_data(zeros({2})); }), {"set_data", "exp", "detach()"}));
  Tensor w = leaf(make({1}));
  CHECK(mentions(error_of([&] { w.set_data(arange(0, 4)); }), {"set_data", "i64"}));
  w.set_data(zeros({4}, {DType::f64}));
  sum(w).backward();
  CHECK(w.grad().shape() == Shape{4});
}

TEST_CASE("an op may hand its input on as its output") {
  const auto reversed = [](const Tensor& x) {
    Tensor y = x;
    autograd::record("reversed", y, {&x}, [](const Tensor& dy) { return Inputs{-dy}; });
    return y;
  };
  const Tensor x = leaf(make({1, 2}));
  sum(reversed(x) * 3.0).backward();
  CHECK(x.grad().to_vector<double>() == Values{-3, -3});
  const Tensor z = leaf(make({1}));
  const Tensor h = z * 2.0;
  sum(reversed(h) * 3.0 + h).backward();
  CHECK(z.grad().item() == -4);
}

TEST_CASE("what no gradient needs may be changed before backward") {
  const Tensor w = leaf(make({1, 4})), c = make({2, 3});
  const auto gradient_after = [&](const Tensor& y, Tensor changed) {
    Tensor(w).zero_grad();
    const Values before = changed.to_vector<double>();
    {
      const NoGrad guard;
      changed.fill_(77);
    }
    sum(y).backward();
    const NoGrad guard;
    changed.copy_(make(before));
    return w.grad().to_vector<double>();
  };
  CHECK(gradient_after(w * 3.0, w) == Values{3, 3});
  CHECK(gradient_after(-w, w) == Values{-1, -1});
  CHECK(gradient_after(w * c, w) == Values{2, 3});
  CHECK(gradient_after(w / c, w) == Values{0.5, 1 / 3.0});
  CHECK(gradient_after(sqrt(w), w) == Values{0.5, 0.25});
  CHECK(gradient_after(sign(w), w) == Values{0, 0});
  Tensor y = log(w);
  CHECK(gradient_after(y, y.detach()) == Values{1, 0.25});
  y = abs(w);
  CHECK(gradient_after(y, y.detach()) == Values{1, 1});
  // ... and what one needs may not.
  y = sqrt(w);
  CHECK(mentions(error_of([&] { gradient_after(y, y.detach()); }), {"changed in place"}));
}
