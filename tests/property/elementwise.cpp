// add, sub, mul, div, equal, with broadcasting and with numbers; exp, log, sqrt, abs, sign, relu, dropout.
#include <cmath>

#include "evenkeel/core/ops.h"
#include "evenkeel/nn/functional.h"
#include "property/families.h"
#include "reference/tensor_ops.h"

namespace evenkeel::property {
namespace {

using Function2 = double (*)(double a, double b);

struct BinaryOp {
  const char* name;
  Tensor (*op)(const Tensor&, const Tensor&);
  Function2 value;
  Function2 da, db;  // null: no backward
};
const BinaryOp kBinary[] = {
    {"add", add, [](double a, double b) { return a + b; }, [](double, double) { return 1.0; },
     [](double, double) { return 1.0; }},
    {"sub", sub, [](double a, double b) { return a - b; }, [](double, double) { return 1.0; },
     [](double, double) { return -1.0; }},
    {"mul", mul, [](double a, double b) { return a * b; }, [](double, double b) { return b; },
     [](double a, double) { return a; }},
    {"div", div, [](double a, double b) { return a / b; }, [](double, double b) { return 1 / b; },
     [](double a, double b) { return -(a / b) / b; }},
    {"equal", equal, [](double a, double b) { return static_cast<double>(a == b); }, nullptr, nullptr},
};

/// f of every pair that broadcasting makes of a and b.
Array pairs(const Array& a, const Array& b, Function2 f) {
  Sizes shape;
  reference::broadcast(a.shape, b.shape, shape);
  const Array left = reference::gather(a, reference::broadcast_map(a.shape, shape), shape);
  const Array right = reference::gather(b, reference::broadcast_map(b.shape, shape), shape);
  Array y(shape);
  for (Index i = 0; i < y.numel(); ++i) y.values[i] = f(left.values[i], right.values[i]);
  return y;
}

/// The gradients of both, or with `absolute` the sums of what they are made of.
std::vector<Array> pair_gradients(const BinaryOp& op, const Array& dy, const std::vector<Array>& in,
                                  bool absolute) {
  std::vector<Array> gradients;
  for (int i = 0; i < 2; ++i) {
    const Sizes& shape = in[static_cast<std::size_t>(i)].shape;
    Array terms = pairs(in[0], in[1], i == 0 ? op.da : op.db);
    for (Index k = 0; k < terms.numel(); ++k) {
      double& term = terms.values[k];
      term *= dy.values[k];
      if (absolute) term = std::isfinite(term) ? std::abs(term) : 0;
    }
    gradients.push_back(reference::scatter_add(terms, reference::broadcast_map(shape, dy.shape), shape));
  }
  return gradients;
}

/// A shape that broadcasts to `shape`, or is it.
Sizes part_of(const Sizes& shape, Gen& gen) {
  Sizes part = shape;
  if (gen.chance(30))
    part.erase(part.begin(), part.begin() + gen.integer(0, static_cast<Index>(part.size())));
  for (Index& size : part)
    if (gen.chance(15)) size = 1;
  return part;
}

void binary(const BinaryOp& op, Gen& gen) {
  OpCase c;
  c.op = op.name;
  const Sizes shape = gen.shape(static_cast<int>(gen.integer(0, 5)));
  c.inputs = {gen.operand(part_of(shape, gen)), gen.operand(gen.chance(60) ? shape : part_of(shape, gen))};
  if (gen.chance(50)) std::swap(c.inputs[0], c.inputs[1]);
  if (gen.chance(8)) c.inputs[static_cast<std::size_t>(gen.integer(0, 1))] = gen.operand(gen.shape(2));
  Sizes out;
  const bool integers = op.da == nullptr && gen.chance(30);
  if (integers) {
    for (Operand& o : c.inputs) {
      o.is_i64 = true;
      o.gradient = false;
      for (double& value : o.values.values) value = std::isfinite(value) ? std::round(value) : 7;
    }
    c.y_dtype = DType::f32;
  }
  if (!reference::broadcast(c.inputs[0].values.shape, c.inputs[1].values.shape, out))
    c.invalid = "the shapes do not broadcast";
  damage(c, gen, integers ? Damage::undefined : Damage::any);
  c.run = [&op](const std::vector<Tensor>& in) { return op.op(in[0], in[1]); };
  c.forward = [&op](const std::vector<Array>& in) { return pairs(in[0], in[1], op.value); };
  if (op.da != nullptr) {
    c.backward = [&op](const Array& dy, const std::vector<Array>& in) {
      return pair_gradients(op, dy, in, false);
    };
    c.scale = [&op](const std::vector<Array>& in, const Array& y, const Array& dy) {
      const std::vector<Array> sums = pair_gradients(op, dy, in, true);
      return std::vector<double>{largest_finite(y), largest_finite(sums[0]), largest_finite(sums[1])};
    };
  }
  check(c, gen);
}

/// a op number, and number op a.
void with_number(Gen& gen) {
  static constexpr const char* kNames[] = {"add", "sub", "mul", "div"};
  const auto which = static_cast<std::size_t>(gen.integer(0, 3));
  const BinaryOp& op = kBinary[which];
  const bool number_first = gen.chance(50);
  const double number = static_cast<float>(gen.uniform(-3, 3));
  OpCase c;
  c.op = kNames[which];
  c.args = fmt::format(R"("number": {}, "number_first": {})", number, number_first);
  c.inputs = {gen.operand(gen.shape(static_cast<int>(gen.integer(0, 5))))};
  c.torch_has_it = false;
  const auto operands = [number, number_first](const Array& x) {
    Array n(Sizes{});
    n.values[0] = number;
    return number_first ? std::vector<Array>{n, x} : std::vector<Array>{x, n};
  };
  c.run = [which, number, number_first](const std::vector<Tensor>& in) {
    const Tensor& x = in[0];
    if (number_first)
      return which == 0 ? number + x : which == 1 ? number - x : which == 2 ? number * x : number / x;
    return which == 0 ? x + number : which == 1 ? x - number : which == 2 ? x * number : x / number;
  };
  c.forward = [&op, operands](const std::vector<Array>& in) {
    const std::vector<Array> both = operands(in[0]);
    return pairs(both[0], both[1], op.value);
  };
  c.backward = [&op, operands, number_first](const Array& dy, const std::vector<Array>& in) {
    return std::vector<Array>{pair_gradients(op, dy, operands(in[0]), false)[number_first ? 1 : 0]};
  };
  check(c, gen);
}

struct UnaryOp {
  const char* name;
  Tensor (*op)(const Tensor&);
  double (*value)(double x);
  double (*gradient)(double dy, double x);
};
/// NaN is not lost: docs/differences.md.
double sign_of(double x) { return x > 0 ? 1 : x < 0 ? -1 : x; }
const UnaryOp kUnary[] = {
    {"exp", exp, [](double x) { return std::exp(x); }, [](double dy, double x) { return dy * std::exp(x); }},
    {"log", log, [](double x) { return std::log(x); }, [](double dy, double x) { return dy / x; }},
    {"sqrt", sqrt, [](double x) { return std::sqrt(x); },
     [](double dy, double x) { return dy / (2 * std::sqrt(x)); }},
    {"abs", abs, [](double x) { return std::abs(x); }, [](double dy, double x) { return dy * sign_of(x); }},
    {"sign", sign, sign_of, [](double, double) { return 0.0; }},
    {"relu", relu, [](double x) { return x <= 0 ? 0 : x; },
     [](double dy, double x) { return x <= 0 ? 0 : dy; }},
};

void unary(const UnaryOp& op, Gen& gen) {
  OpCase c;
  c.op = op.name;
  c.inputs = {gen.operand(gen.shape(static_cast<int>(gen.integer(0, 5))))};
  if (op.op == sign || op.op == abs) c.torch_has_it = !c.inputs[0].values.values.isNaN().any();
  damage(c, gen, Damage::undefined);
  c.run = [&op](const std::vector<Tensor>& in) { return op.op(in[0]); };
  c.forward = [&op](const std::vector<Array>& in) {
    Array y = in[0];
    for (double& value : y.values) value = op.value(value);
    return y;
  };
  c.backward = [&op](const Array& dy, const std::vector<Array>& in) {
    Array dx = in[0];
    for (Index i = 0; i < dx.numel(); ++i) dx.values[i] = op.gradient(dy.values[i], in[0].values[i]);
    return std::vector<Array>{dx};
  };
  check(c, gen);
}

/// Which elements stay is read from y: the reference is that a mask of zeros and 1/(1-p) was applied, both
/// ways.
void dropout_case(Gen& gen) {
  const Index kind = gen.integer(0, 9);
  const double p = kind == 0 ? 0 : kind == 1 ? 1 : kind == 2 ? gen.pick({-1, 2}) : gen.uniform(0.05, 0.9);
  const RandomKey key{static_cast<std::uint64_t>(gen.integer(0, 1000)), RandomPurpose::dropout, 3};
  OpCase c;
  c.op = "dropout";
  c.args = fmt::format(R"("p": {})", p);
  const Sizes shape = gen.shape(static_cast<int>(gen.integer(1, 4)));
  c.inputs = {gen.operand(shape, false)};
  c.torch_has_it = false;
  if (p < 0 || p >= 1) c.invalid = "nothing is kept, or p is no probability";
  damage(c, gen, Damage::undefined);
  c.run = [=](const std::vector<Tensor>& in) { return dropout(in[0], p, key); };
  // The mask is a function of the key and the position alone, so that ones show it.
  Array mask(shape);
  if (c.invalid.empty() && p < 1) {
    Operand ones;
    ones.values = Array(shape, 1);
    ones.layout = c.inputs[0].layout;
    mask = to_array(dropout(make_tensor(ones, DType::f64, gen.device()), p, key));
    for (double value : mask.values)
      if (value != 0 && !(std::abs(value - 1 / (1 - p)) <= 1e-9 / (1 - p)))
        fail_case(fmt::format("dropout of 1 is {}", value));
    if (mask.numel() >= 1000) {
      const double kept = static_cast<double>((mask.values != 0).count()) / static_cast<double>(mask.numel());
      const double deviation = std::sqrt(p * (1 - p) / static_cast<double>(mask.numel()));
      if (!(std::abs(kept - (1 - p)) <= 6 * deviation))
        fail_case(fmt::format("dropout({}) keeps {} of ones", p, kept));
    }
  }
  c.forward = [mask](const std::vector<Array>& in) {
    Array y = in[0];
    y.values = y.values * mask.values;
    return y;
  };
  c.backward = [mask](const Array& dy, const std::vector<Array>&) {
    Array dx = dy;
    dx.values = dx.values * mask.values;
    return std::vector<Array>{dx};
  };
  check(c, gen);
}

}  // namespace

void add_elementwise(std::vector<Property>& all) {
  all.insert(all.end(), {{"add", [](Gen& g) { binary(kBinary[0], g); }},
                         {"sub", [](Gen& g) { binary(kBinary[1], g); }},
                         {"mul", [](Gen& g) { binary(kBinary[2], g); }},
                         {"div", [](Gen& g) { binary(kBinary[3], g); }},
                         {"equal", [](Gen& g) { binary(kBinary[4], g); }},
                         {"with_number", with_number},
                         {"exp", [](Gen& g) { unary(kUnary[0], g); }},
                         {"log", [](Gen& g) { unary(kUnary[1], g); }},
                         {"sqrt", [](Gen& g) { unary(kUnary[2], g); }},
                         {"abs", [](Gen& g) { unary(kUnary[3], g); }},
                         {"sign", [](Gen& g) { unary(kUnary[4], g); }},
                         {"relu", [](Gen& g) { unary(kUnary[5], g); }},
                         {"dropout", dropout_case}});
}

}  // namespace evenkeel::property
