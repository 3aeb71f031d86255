// The engine: gradients of ops that users write, graphs in which tensors are used several times, gradcheck.
#include <cmath>

#include "evenkeel/core/autograd.h"
#include "evenkeel/core/gradcheck.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/functional.h"
#include "evenkeel/nn/optim.h"
#include "property/families.h"

namespace evenkeel::property {
namespace {

/// An op of a user's: y = 2 x, whose backward returns what it is told.
Tensor custom_op(const Tensor& x, autograd::BackwardFn backward) {
  Tensor y = x.detach() * 2.0;
  autograd::record("doubled", y, {&x}, std::move(backward));
  return y;
}

/// A shape that x's gradient must not have.
Sizes other_shape(const Sizes& shape, Gen& gen) {
  Sizes other = shape;
  const Index kind = gen.integer(0, 4);
  if (kind == 0) return {1, 1};
  if (kind == 1) other.push_back(1);
  if (kind == 2) other.insert(other.begin(), 1);
  if (kind == 3) other[0] += 1;
  if (kind == 4) other = {shape[0] * shape[1]};
  return other;
}

void bad_gradient(Gen& gen) {
  const Sizes shape{gen.integer(1, 9), gen.integer(2, 9)};
  Operand o = gen.operand(shape, false);
  o.gradient = true;
  const Index kind = gen.integer(0, 4);
  for (DType dtype : {DType::f64, DType::f32}) {
    const Tensor x = make_tensor(o, dtype, gen.device());
    std::vector<Tensor> results;
    std::string why;
    const DType other = dtype == DType::f64 ? DType::f32 : gen.chance(50) ? DType::f64 : DType::i64;
    switch (kind) {
      case 0:
      case 1: {
        const Sizes wrong = other_shape(shape, gen);
        results = {ones(to_shape(wrong), x.options())};
        why = fmt::format("the gradient has shape {}, x {}", str(wrong), str(shape));
        break;
      }
      case 2:
        results = {ones(x.shape(), {other, gen.device()})};
        why = fmt::format("the gradient is {}, x {}", name_of(other), name_of(dtype));
        break;
      case 3:
        why = "there is no gradient";
        break;
      default:
        results = {ones(x.shape(), x.options()), ones(x.shape(), x.options())};
        why = "there are more gradients than inputs";
        break;
    }
    const auto backward = [results](const Tensor&) { return results; };
    must_refuse("doubled", why, [&] {
      const Tensor y = custom_op(x, backward);
      y.backward(ones(y.shape(), y.options()));
      if (x.grad().defined()) to_array(x.grad());  // what follows is what users do next
      optim::SGD sgd({x.is_contiguous() ? x : ones(x.shape(), x.options()).requires_grad_()}, {});
      sgd.step();
    });
    // As an inner op, whose gradient goes into another one's backward.
    must_refuse("doubled", why + ", and x is a result", [&] {
      const Tensor y = custom_op(exp(x), backward);
      y.backward(ones(y.shape(), y.options()));
    });
    // gradcheck says so, by its result or by an Error.
    if (dtype != DType::f64 || kind == 4) continue;
    const Tensor leaf = ones(x.shape(), x.options()).requires_grad_();
    try {
      if (gradcheck([&](const std::vector<Tensor>& in) { return custom_op(in[0], backward); }, {leaf}))
        fail_case("gradcheck accepted it: " + why);
    } catch (const Error&) {
    }
  }
}

/// gradcheck finds a factor that is wrong, and accepts what is right.
void gradcheck_case(Gen& gen) {
  const double factor = gen.pick({2, 3, -2, 0});
  const Tensor x =
      make_tensor(gen.parameter({gen.integer(1, 4), gen.integer(1, 4)}), DType::f64, gen.device())
          .detach()
          .contiguous()
          .clone()
          .requires_grad_();
  const auto f = [&](const std::vector<Tensor>& in) {
    return custom_op(in[0], [factor](const Tensor& dy) { return std::vector{dy * factor}; });
  };
  const bool accepted = static_cast<bool>(gradcheck(f, {x}));
  if (accepted != (factor == 2))
    fail_case(fmt::format("gradcheck of 2 x with gradient {}: {}", factor, accepted));
}

/// x used several times, by views too: the gradients add up, and a second backward through the graph is
/// refused.
void used_often(Gen& gen) {
  const Index rows = gen.integer(1, 9), columns = gen.integer(1, 9);
  Operand o = gen.operand({rows, columns}, false);
  o.gradient = true;
  Operand dy = gen.operand({rows, columns}, false);
  dy.gradient = false;
  // y = x * x + 3 x + (the sum of each row, repeated) + x[0]
  Array expected({rows, columns}), sums(Sizes{rows}), first(Sizes{columns});
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < columns; ++j) {
      sums(i) += dy.values(i, j);
      first(j) += dy.values(i, j);
    }
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < columns; ++j)
      expected(i, j) = dy.values(i, j) * (2 * o.values(i, j) + 3) + sums(i) + (i == 0 ? first(j) : 0);
  for (DType dtype : {DType::f64, DType::f32}) {
    Array bits;
    for (int poison : {0xff, 0x41}) {
      set_memory_poison(poison);
      Tensor x = make_tensor(o, dtype, gen.device());
      const Tensor y = x * x + 3.0 * x + sum(x, {1}, true) + x.slice(0, 0, 1);
      const Tensor seed = make_tensor(dy, dtype, gen.device());
      y.backward(seed);
      must_equal("the gradient", x.grad(), expected, 100 * largest_finite(dy.values) + 1);
      if (poison == 0x41) must_have_bits("the gradient with other poison", to_array(x.grad()), bits);
      bits = to_array(x.grad());
      must_equal("dy after backward", seed, dy.values);
      must_refuse("backward", "the graph was freed", [&] { y.backward(seed); });
      const Array once = to_array(x.grad());
      (x * 1.0).backward(seed);
      Array twice = once;
      twice.values += dy.values.values;
      must_equal("the gradient of a second backward", x.grad(), twice, 100 * largest_finite(dy.values) + 1);
      must_equal("dy after a second backward", seed, dy.values);
    }
  }
}

void backward_arguments(Gen& gen) {
  const Sizes shape{gen.integer(2, 5), gen.integer(2, 5)};
  Operand o = gen.operand(shape, false);
  o.gradient = true;
  const Tensor x = make_tensor(o, DType::f64, gen.device());
  const Tensor y = exp(x);
  must_refuse("backward", "more than one element needs a gradient", [&] { y.backward(); });
  must_refuse("backward", "the gradient has another shape",
              [&] { y.backward(ones(to_shape(other_shape(shape, gen)), y.options())); });
  must_refuse("backward", "the gradient has another dtype", [&] {
    y.backward(ones(y.shape(), {DType::f32, gen.device()}));
  });
  must_refuse("backward", "nothing requires a gradient",
              [&] { x.detach().backward(ones(x.shape(), x.options())); });
  must_refuse("backward", "a comparison is a constant", [&] {
    Tensor both = sum(equal(x, exp(x)));
    both.backward();
  });
  must_refuse("requires_grad_", "integers have no gradient", [&] {
    ones({2}, {DType::i64, gen.device()}).requires_grad_();
  });
  must_refuse("requires_grad_", "a result is no leaf", [&] { exp(x).requires_grad_(false); });
}

}  // namespace

void add_autograd(std::vector<Property>& all) {
  all.insert(all.end(), {{"bad_gradient", bad_gradient},
                         {"gradcheck", gradcheck_case},
                         {"used_often", used_often},
                         {"backward_arguments", backward_arguments}});
}

}  // namespace evenkeel::property
