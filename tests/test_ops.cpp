// Element-wise arithmetic, broadcasting, reductions and the matrix product.
#include "evenkeel/core/ops.h"

#include <cmath>
#include <limits>

#include "compare.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

using Values = std::vector<double>;
using Inputs = std::vector<Tensor>;
const double kNaN = std::numeric_limits<double>::quiet_NaN();
const double kInf = std::numeric_limits<double>::infinity();

Tensor make(const Values& values, const Shape& shape, TensorOptions options) {
  return from_vector(values, shape).to(options.dtype).to(options.device);
}

struct BinaryOp {
  const char* name;
  Tensor (*op)(const Tensor&, const Tensor&);
  double (*f)(double, double);
};
const BinaryOp kBinaryOps[] = {
    {"add", add, [](double a, double b) { return a + b; }},
    {"sub", sub, [](double a, double b) { return a - b; }},
    {"mul", mul, [](double a, double b) { return a * b; }},
    {"div", div, [](double a, double b) { return a / b; }},
};

struct UnaryOp {
  const char* name;
  Tensor (*op)(const Tensor&);
  double (*f)(double);
};
const UnaryOp kUnaryOps[] = {
    {"exp", exp, [](double x) { return std::exp(x); }},
    {"log", log, [](double x) { return std::log(x); }},
    {"sqrt", sqrt, [](double x) { return std::sqrt(x); }},
    {"abs", abs, [](double x) { return std::abs(x); }},
    {"sign", sign, [](double x) { return static_cast<double>((x > 0) - (x < 0)); }},
};

struct BroadcastCase {
  Shape a, b;
  const char* reason;
};
const BroadcastCase kBroadcasts[] = {
    {{}, {}, "no axes"},
    {{1}, {1}, "minimal"},
    {{17}, {17}, "not a multiple of any vector width"},
    {{3, 5}, {5}, "rows"},
    {{3, 5}, {3, 1}, "columns"},
    {{4, 1}, {1, 7}, "both repeat: outer product"},
    {{2, 3, 4, 5}, {3, 1, 1}, "a channel's parameter"},
    {{}, {2, 3}, "scalar on the left"},
    {{1, 1, 1, 1, 1, 1, 2, 3}, {2, 2, 1, 1, 1, 1, 1, 1}, "as many axes as there can be"},
    {{0, 3}, {1}, "nothing"},
};

/// The values of x repeated to `shape`, by index arithmetic from the back.
Array repeated(const Array& x, const reference::Sizes& shape) {
  Array y(shape);
  for (reference::Index i = 0; i < y.numel(); ++i) {
    reference::Index rest = i, position = 0, stride = 1;
    for (std::size_t back = 1; back <= x.shape.size(); ++back) {
      const reference::Index size = x.shape[x.shape.size() - back];
      position += (rest % shape[shape.size() - back]) % size * stride;
      rest /= shape[shape.size() - back];
      stride *= size;
    }
    y.values[i] = x.values[position];
  }
  return y;
}

}  // namespace

TEST_CASE("binary ops broadcast and agree with the formula") {
  for_each_kind([](TensorOptions options) {
    for (const auto& [sa, sb, reason] : kBroadcasts) {
      for (const auto& [name, op, f] : kBinaryOps) {
        INFO(name << " of " << sa.str() << " and " << sb.str() << ": " << reason);
        Random random;
        const Tensor a = random.normal(sa, options), b = random.uniform(sb, options, 0.5, 2);
        const Tensor y = op(a, b);
        const Shape shape = broadcast_shapes(name, sa, sb);
        const reference::Sizes sizes(shape.begin(), shape.end());
        const Array va = repeated(to_array(a), sizes), vb = repeated(to_array(b), sizes);
        Array expected(sizes);
        for (reference::Index i = 0; i < expected.numel(); ++i)
          expected.values[i] = f(va.values[i], vb.values[i]);
        CHECK(close(y, expected, 2 * unit_roundoff(options.dtype)));
        if (a.rank() == 2 && b.rank() == 2 && a.numel() > 0) {
          CHECK(same_bits(op(with_gaps(a), transposed_in_memory(b)), y));
        }
      }
    }
  });
}

TEST_CASE("binary ops have the right gradients, also where they broadcast") {
  for_each_device([](TensorOptions options) {
    for (const auto& [sa, sb, reason] : kBroadcasts) {
      for (const auto& [name, op, f] : kBinaryOps) {
        INFO(name << " of " << sa.str() << " and " << sb.str() << ": " << reason);
        Random random;
        const Inputs inputs{leaf(random.normal(sa, options)), leaf(random.uniform(sb, options, 0.5, 2))};
        CHECK(gradcheck([op = op](const Inputs& in) { return op(in[0], in[1]); }, inputs));
      }
    }
  });
}

TEST_CASE("a scalar that the dtype does not hold is infinite") {
  for_each_device_in(DType::f32, [](TensorOptions options) {
    const Tensor x = make({1, -2}, {2}, options);
    CHECK((x * 1e300).to_vector<double>() == Values{kInf, -kInf});
    CHECK((x - 1e300).to_vector<double>() == Values{-kInf, -kInf});
  });
}

TEST_CASE("scalars mix with tensors on either side") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = make({1, 2, 4}, {3}, options);
    CHECK((x + 1.0).to_vector<double>() == Values{2, 3, 5});
    CHECK((1.0 - x).to_vector<double>() == Values{0, -1, -3});
    CHECK((x - 1.0).to_vector<double>() == Values{0, 1, 3});
    CHECK((2.0 * x).to_vector<double>() == Values{2, 4, 8});
    CHECK((8.0 / x).to_vector<double>() == Values{8, 4, 2});
    CHECK((x / 2.0).to_vector<double>() == Values{0.5, 1, 2});
    CHECK((-x).to_vector<double>() == Values{-1, -2, -4});
    CHECK((x + 1.0).dtype() == options.dtype);
  });
}

TEST_CASE("unary ops agree with the formula and have the right gradients") {
  for (const auto& [name, op, f] : kUnaryOps) {
    for_each_kind([&, name = name, op = op, f = f](TensorOptions options) {
      INFO(name);
      for (const Shape& shape : {Shape{}, Shape{0}, Shape{1}, Shape{33}, Shape{5, 7}}) {
        const Tensor x = Random().uniform(shape, options, 0.1, 3);
        Array expected = to_array(x);
        for (double& value : expected.values) value = f(value);
        CHECK(close(op(x), expected, 4 * unit_roundoff(options.dtype)));
        if (shape.rank() == 2) CHECK(same_bits(op(x.transpose(0, 1)), op(x).transpose(0, 1).contiguous()));
      }
    });
    for_each_device([&, name = name, op = op](TensorOptions options) {
      INFO(name);
      // Away from the kink of abs and sign and the pole of log and sqrt.
      const Tensor x = leaf(Random().uniform({4, 3}, options, 0.2, 2));
      CHECK(gradcheck([op = op](const Inputs& in) { return op(in[0].transpose(0, 1)); }, {x}));
    });
  }
}

TEST_CASE("abs and sign at zero, below zero and at NaN") {
  for_each_kind([](TensorOptions options) {
    Tensor x = leaf(make({-2, -0.0, 0.0, 3}, {4}, options));
    CHECK(abs(x).to_vector<double>() == Values{2, 0, 0, 3});
    CHECK(sign(x).to_vector<double>() == Values{-1, 0, 0, 1});
    sum(abs(x)).backward();
    CHECK(x.grad().to_vector<double>() == Values{-1, 0, 0, 1});
    x.zero_grad();
    sum(sign(x)).backward();
    CHECK(x.grad().to_vector<double>() == Values{0, 0, 0, 0});
    CHECK(std::isnan(abs(make({kNaN}, {1}, options)).item()));
    CHECK(std::isnan(exp(make({kNaN}, {1}, options)).item()));
    CHECK(exp(make({-kInf}, {1}, options)).item() == 0);
    CHECK(log(make({0}, {1}, options)).item() == -kInf);
  });
}

TEST_CASE("equal gives 1 and 0, and NaN equals nothing") {
  for_each_kind([](TensorOptions options) {
    const Tensor a = make({1, 2, kNaN}, {3}, options);
    CHECK(equal(a, a).to_vector<double>() == Values{1, 1, 0});
    CHECK(equal(a, make({2}, {1}, options)).to_vector<double>() == Values{0, 1, 0});
    CHECK(equal(a, a).dtype() == options.dtype);
  });
}

TEST_CASE("an undefined tensor is an error, not a crash") {
  const Tensor nothing;
  CHECK(mentions(error_of([&] { exp(nothing); }), {"undefined"}));
  CHECK(mentions(error_of([&] { sum(nothing); }), {"undefined"}));
  CHECK(mentions(error_of([&] { nothing.reshape({1}); }), {"undefined"}));
  CHECK(mentions(error_of([&] { nothing.backward(); }), {"backward"}));
}

TEST_CASE("ops refuse mixed kinds and integers") {
  const Tensor f32 = zeros({2}), f64 = zeros({2}, {DType::f64}), i64 = zeros({2}, {DType::i64});
  for (const auto& [name, op, f] : kBinaryOps) {
    CHECK(mentions(error_of([&, op = op] { op(f32, f64); }), {name, "f32", "f64"}));
    CHECK(mentions(error_of([&, op = op] { op(f32, zeros({3})); }), {name, "[2]", "[3]"}));
    CHECK(mentions(error_of([&, op = op] { op(i64, i64); }), {"floating", "i64"}));
    CHECK_THROWS_AS(op(f32, Tensor()), Error);
  }
  CHECK(mentions(error_of([&] { exp(i64); }), {"floating", "i64"}));
  CHECK(mentions(error_of([&] { sum(i64); }), {"floating", "i64"}));
}

// --- reductions
// ----------------------------------------------------------------------------------------------------

namespace {

struct ReduceCase {
  Shape shape;
  std::vector<int> axes;
  Shape result, result_keepdim;
  const char* reason;
};
const ReduceCase kReductions[] = {
    {{}, {}, {}, {}, "no axes to reduce"},
    {{1}, {0}, {}, {1}, "minimal"},
    {{7}, {}, {}, {1}, "all axes, by leaving them out"},
    {{3, 5}, {0}, {5}, {1, 5}, "down the columns"},
    {{3, 5}, {-1}, {3}, {3, 1}, "along the rows, axis from the end"},
    {{2, 3, 4, 5}, {0, 2, 3}, {3}, {1, 3, 1, 1}, "as batch norm does"},
    {{2, 3, 4, 5}, {3, 1}, {2, 4}, {2, 1, 4, 1}, "axes apart and out of order"},
    {{3, 1001}, {1}, {3}, {3, 1}, "a long row, not a multiple of any block"},
    {{1001, 3}, {0}, {3}, {1, 3}, "a long column"},
};

/// Calls f(group, i) for each element i of `shape`; elements that are reduced to one share `group`, row-major
/// over the axes that stay.
template <typename F>
void for_each_reduced(const Shape& shape, const std::vector<int>& axes, const F& f) {
  std::vector<bool> reduced(static_cast<std::size_t>(shape.rank()), axes.empty());
  for (int axis : axes) reduced[static_cast<std::size_t>(axis < 0 ? axis + shape.rank() : axis)] = true;
  for (std::int64_t i = 0; i < shape.numel(); ++i) {
    std::int64_t rest = i, group = 0, stride = 1;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      if (!reduced[static_cast<std::size_t>(axis)]) {
        group += rest % shape[axis] * stride;
        stride *= shape[axis];
      }
      rest /= shape[axis];
    }
    f(group, i);
  }
}

}  // namespace

TEST_CASE("sum, mean and max reduce the axes they are given") {
  for_each_kind([](TensorOptions options) {
    for (const ReduceCase& c : kReductions) {
      INFO(c.shape.str() << " over [" << fmt::format("{}", fmt::join(c.axes, ", ")) << "]: " << c.reason);
      const Tensor x = Random().normal(c.shape, options);
      const Array values = to_array(x);
      Array total(reference::Sizes(c.result.begin(), c.result.end())), largest = total;
      largest.values.setConstant(-kInf);
      for_each_reduced(c.shape, c.axes, [&](std::int64_t group, std::int64_t i) {
        total.values[group] += values.values[i];
        largest.values[group] = std::max(largest.values[group], values.values[i]);
      });
      Array average = total;
      average.values /= static_cast<double>(c.shape.numel()) / static_cast<double>(total.numel());
      CHECK(close(sum(x, c.axes), total));
      CHECK(close(mean(x, c.axes), average));
      CHECK(close(max(x, c.axes), largest, 0));
      CHECK(sum(x, c.axes, true).shape() == c.result_keepdim);
      CHECK(same_bits(sum(x, c.axes, true).reshape(c.result), sum(x, c.axes)));
      CHECK(max(x, c.axes, true).shape() == c.result_keepdim);
      if (c.shape.rank() >= 2) CHECK(close(sum(with_gaps(x), c.axes), total));
    }
  });
}

TEST_CASE("reductions have the right gradients") {
  for_each_device([](TensorOptions options) {
    for (const ReduceCase& c : kReductions) {
      for (bool keepdim : {false, true}) {
        INFO(c.shape.str() << ", keepdim " << keepdim << ": " << c.reason);
        const Inputs x{leaf(Random().normal(c.shape, options))};
        const GradcheckOptions few{.max_elements = 20};
        CHECK(gradcheck([&](const Inputs& in) { return sum(in[0], c.axes, keepdim); }, x, few));
        CHECK(gradcheck([&](const Inputs& in) { return mean(in[0], c.axes, keepdim); }, x, few));
        CHECK(gradcheck([&](const Inputs& in) { return max(in[0], c.axes, keepdim); }, x, few));
      }
    }
  });
}

TEST_CASE("sums are taken in double precision") {
  for_each_kind([](TensorOptions options) {
    // 2^24 + 1 + ... + 1: in f32 every single addition would be lost.
    Tensor x = ones({1025}, options);
    x.slice(0, 0, 1).fill_(0x1p24);
    CHECK(sum(x).item() == 0x1p24 + 1024);
    CHECK(sum(ones({0}, options)).item() == 0);
  });
}

TEST_CASE("equal maxima share the gradient, and NaN is the largest") {
  for_each_kind([](TensorOptions options) {
    Tensor x = leaf(make({1, 5, 5, 5, 2, 2}, {2, 3}, options));
    sum(max(x, {1}) * make({6, 4}, {2}, options)).backward();
    CHECK(x.grad().to_vector<double>() == Values{0, 3, 3, 4, 0, 0});
    x.zero_grad();
    max(x).backward();
    CHECK(close(x.grad(), to_array(make({0, 1 / 3.0, 1 / 3.0, 1 / 3.0, 0, 0}, {2, 3}, options))));

    for (int position : {0, 1, 2}) {
      Values values{1, 7, 3};
      values[static_cast<std::size_t>(position)] = kNaN;
      const Tensor with_nan = make(values, {3}, options);
      CHECK(std::isnan(max(with_nan).item()));
      CHECK(argmax(with_nan, 0).item() == position);
    }
    CHECK(max(make({-kInf, -kInf}, {2}, options)).item() == -kInf);
  });
}

TEST_CASE("argmax is the first of the largest") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = make({1, 5, 5, 9, 2, 9, -1, -1, -3}, {3, 3}, options);
    CHECK(argmax(x, 1).to_vector<std::int64_t>() == std::vector<std::int64_t>{1, 0, 0});
    CHECK(argmax(x, -2).to_vector<std::int64_t>() == std::vector<std::int64_t>{1, 0, 1});
    CHECK(argmax(x.transpose(0, 1), 0).to_vector<std::int64_t>() == std::vector<std::int64_t>{1, 0, 0});
    CHECK(argmax(make({-kInf, -kInf}, {2}, options), 0).item() == 0);
    CHECK(argmax(x, 1).dtype() == DType::i64);
  });
}

TEST_CASE("reductions refuse bad axes and empty maxima") {
  const Tensor x = zeros({2, 3});
  CHECK(mentions(error_of([&] { sum(x, {2}); }), {"sum", "2"}));
  CHECK(mentions(error_of([&] { sum(x, {1, -1}); }), {"sum", "twice"}));
  CHECK(mentions(error_of([&] { max(zeros({0, 3}), {0}); }), {"max", "[0, 3]"}));
  CHECK(mentions(error_of([&] { mean(zeros({0})); }), {"mean", "[0]"}));
  CHECK(mentions(error_of([&] { argmax(zeros({3, 0}), 1); }), {"argmax", "[3, 0]"}));
}

TEST_CASE("sum_to undoes a broadcast") {
  for_each_kind([](TensorOptions options) {
    for (const auto& [sa, sb, reason] : kBroadcasts) {
      INFO(sa.str() << " and " << sb.str() << ": " << reason);
      const Shape shape = broadcast_shapes("sum_to", sa, sb);
      const Tensor total = sum_to(ones(shape, options), sa);
      CHECK(total.shape() == sa);
      const double times = sa.numel() == 0 ? 0 : static_cast<double>(shape.numel() / sa.numel());
      CHECK(total.to_vector<double>() == Values(static_cast<std::size_t>(sa.numel()), times));
    }
  });
}

// --- matrix product
// --------------------------------------------------------------------------------------------------

namespace {

struct MatmulCase {
  std::int64_t batch, M, K, N;  // batch 0: no such axis
  const char* reason;
};
const MatmulCase kMatmuls[] = {
    {0, 1, 1, 1, "minimal"},
    {0, 3, 5, 2, "nothing is a multiple of anything"},
    {0, 17, 33, 9, "just past tiles of 16, 32 and 8"},
    {0, 1, 64, 1, "a dot product"},
    {0, 64, 1, 64, "an outer product"},
    {0, 2, 0, 3, "sums of nothing are zero"},
    {3, 4, 5, 6, "a batch"},
    {1, 7, 7, 7, "a batch of one"},
};

Shape matrix(std::int64_t batch, std::int64_t rows, std::int64_t columns) {
  return batch == 0 ? Shape{rows, columns} : Shape{batch, rows, columns};
}

Array naive_matmul(const Array& a, const Array& b, const MatmulCase& c) {
  Array y(c.batch == 0 ? reference::Sizes{c.M, c.N} : reference::Sizes{c.batch, c.M, c.N});
  for (std::int64_t i = 0; i < std::max<std::int64_t>(c.batch, 1); ++i)
    for (std::int64_t m = 0; m < c.M; ++m)
      for (std::int64_t n = 0; n < c.N; ++n)
        for (std::int64_t k = 0; k < c.K; ++k)
          y.values[(i * c.M + m) * c.N + n] +=
              a.values[(i * c.M + m) * c.K + k] * b.values[(i * c.K + k) * c.N + n];
  return y;
}

}  // namespace

TEST_CASE("matmul agrees with the triple loop, transposed and with gaps too") {
  for_each_kind([](TensorOptions options) {
    for (const MatmulCase& c : kMatmuls) {
      INFO(c.batch << " x [" << c.M << ", " << c.K << "] x [" << c.K << ", " << c.N << "]: " << c.reason);
      Random random;
      const Tensor a = random.normal(matrix(c.batch, c.M, c.K), options);
      const Tensor b = random.normal(matrix(c.batch, c.K, c.N), options);
      const Array expected = naive_matmul(to_array(a), to_array(b), c);
      CHECK(close(matmul(a, b), expected));
      CHECK(close(matmul(a.transpose(-1, -2).clone().transpose(-1, -2), b), expected));
      CHECK(close(matmul(a, b.transpose(-1, -2).clone().transpose(-1, -2)), expected));
      CHECK(close(matmul(with_gaps(a), with_gaps(b)), expected));
    }
  });
}

TEST_CASE("matmul has the right gradients") {
  for_each_device([](TensorOptions options) {
    for (const MatmulCase& c : kMatmuls) {
      INFO(c.batch << " x [" << c.M << ", " << c.K << "] x [" << c.K << ", " << c.N << "]: " << c.reason);
      Random random;
      const Inputs inputs{leaf(random.normal(matrix(c.batch, c.M, c.K), options)),
                          leaf(random.normal(matrix(c.batch, c.K, c.N), options))};
      CHECK(gradcheck([](const Inputs& in) { return matmul(in[0], in[1]); }, inputs, {.max_elements = 25}));
    }
  });
}

TEST_CASE("matmul refuses shapes that do not multiply") {
  const Tensor a = zeros({2, 3});
  CHECK(mentions(error_of([&] { matmul(a, zeros({2, 3})); }), {"matmul", "[2, 3]"}));
  CHECK(mentions(error_of([&] { matmul(a, zeros({3})); }), {"matmul", "[3]"}));
  CHECK(mentions(error_of([&] {
                   matmul(zeros({2, 2, 3}), zeros({3, 3, 4}));
                 }),
                 {"matmul", "[2, 2, 3]", "[3, 3, 4]"}));
  CHECK(mentions(error_of([&] { matmul(a, zeros({3, 2}, {DType::f64})); }), {"matmul", "f32", "f64"}));
}
