#include "check_norm.h"

#include <cmath>

#include "evenkeel/core/ops.h"

namespace evenkeel::test {
namespace {

/// Sums that are taken relative to the first element of a set cancel the most where it is far from all
/// others.
Tensor with_outliers(Tensor x) {
  Tensor first = x;
  for (int axis = 1; axis < x.rank(); ++axis) first = first.slice(axis, 0, 1);
  first.copy_(full(first.shape(), 1e4, {x.dtype(), x.device()}));
  return x;
}

/// Tensors for one run. gamma and beta are undefined unless wanted.
struct Run {
  Tensor x, gamma, beta, dy, y;

  Run(const NormCase& c, NormInput input, bool with_gamma, bool with_beta, TensorOptions options) {
    Random random;
    x = leaf(make_input(input, c.x, options, random));
    dy = random.normal(c.x, options);
    if (with_gamma) gamma = leaf(random.uniform(c.parameter, parameters_of(options), 0.5, 2));
    if (with_beta) beta = leaf(random.normal(c.parameter, parameters_of(options)));
    y = c.op(x, gamma, beta);
    y.backward(dy);
  }
};

Array values_or(const Tensor& parameter, const Shape& shape, double value) {
  return parameter.defined() ? to_array(parameter) : Array(sizes_of(shape), value);
}

/// Compares with the expected values; 16-bit results may be off by `error` before they are rounded.
Comparison close_to(const Tensor& actual, const Array& expected, double error) {
  return is_16bit(actual.dtype()) ? close_rounded(actual, expected, error)
                                  : close(actual, expected, 1, error);
}

void check_run(const NormCase& c, NormInput input, bool with_gamma, bool with_beta, TensorOptions options) {
  INFO(c.name << "; x " << c.x.str() << " with " << name_of(input) << ", gamma " << with_gamma << ", beta "
              << with_beta);
  const Run run(c, input, with_gamma, with_beta, options);
  const Array x = to_array(run.x), dy = to_array(run.dy);
  const Array gamma = values_or(run.gamma, c.parameter, 1), beta = values_or(run.beta, c.parameter, 0);
  const Array y = reference::normalize(x, c.partition, reference::statistics(x, c.partition, c.centred),
                                       gamma, beta, c.eps);
  const auto expected = reference::normalize_backward(dy, x, c.partition, gamma, c.eps, c.centred);
  const NormTolerance allowed(c.partition, c.eps, x, gamma, y, dy, tolerance(options.dtype), c.centred);
  CHECK(close_to(run.y, y, allowed.y));
  CHECK(close_to(run.x.grad(), expected.dx, allowed.dx));
  if (with_gamma) CHECK(close(run.gamma.grad(), expected.dgamma, 1, allowed.dgamma));
  if (with_beta) CHECK(close(run.beta.grad(), expected.dbeta, 1, allowed.dbeta));
}

}  // namespace

const char* name_of(NormInput input) {
  constexpr const char* kNames[] = {"mean 0.5, std 2", "mean 1000, std 0.01", "constant planes",
                                    "1e4 in the first element of each image"};
  return kNames[static_cast<int>(input)];
}

Tensor make_input(NormInput kind, const Shape& shape, TensorOptions options, Random& random) {
  switch (kind) {
    case NormInput::ordinary:
      return random.normal(shape, options, 0.5, 2);
    case NormInput::offset:
      return random.normal(shape, options, 1000, 0.01);
    case NormInput::constant_planes:
      return random.constant_planes(shape, options, std::min(shape.rank(), 2));
    case NormInput::outliers:
      return with_outliers(random.normal(shape, options));
  }
  return {};
}

NormTolerance::NormTolerance(const reference::Partition& partition, double eps, const Array& x,
                             const Array& gamma, const Array& y_expected, const Array& dy, double tolerance,
                             bool centred) {
  const auto stats = reference::statistics(x, partition, centred);
  const Eigen::ArrayXd rstd = (stats.var + eps).rsqrt();
  const Eigen::ArrayXd mean_error = stats.mean.abs() * 2 * unit_roundoff(DType::f64);
  const double xhat_error = (mean_error * rstd).maxCoeff();
  Eigen::ArrayXd sum_of_squares = Eigen::ArrayXd::Zero(partition.parameters);
  Eigen::ArrayXd dy_squares = sum_of_squares, dy_sum = sum_of_squares;
  double largest_term = 0;
  for (reference::Index i = 0; i < x.numel(); ++i) {
    const auto s = partition.set[static_cast<std::size_t>(i)];
    const auto p = partition.parameter[static_cast<std::size_t>(i)];
    const double xhat = (x.values[i] - stats.mean[s]) * rstd[s];
    sum_of_squares[p] += std::pow(dy.values[i] * xhat, 2);
    dy_squares[p] += std::pow(dy.values[i], 2);
    dy_sum[p] += std::abs(dy.values[i]);
    largest_term = std::max(largest_term, std::abs(gamma.values[p] * dy.values[i]) * rstd[s]);
  }
  y = tolerance * y_expected.largest() + 2 * xhat_error * gamma.largest();
  dx = (tolerance + 4 * xhat_error) * largest_term;
  dgamma = tolerance * std::sqrt(sum_of_squares.maxCoeff()) + 2 * xhat_error * dy_sum.maxCoeff();
  dbeta = tolerance * std::sqrt(dy_squares.maxCoeff());
}

reference::Sizes sizes_of(const Shape& shape) { return {shape.begin(), shape.end()}; }

void check_norm_against_reference(const NormCase& c) {
  for_each_storage_kind([&](TensorOptions options) {
    for (NormInput input : kNormInputs) {
      for (bool with_gamma : {false, true}) {
        for (bool with_beta : {false, c.centred}) check_run(c, input, with_gamma, with_beta, options);
      }
    }
  });
}

void check_norm_gradients(const NormCase& c) {
  for_each_device([&](TensorOptions options) {
    INFO(c.name << "; x " << c.x.str());
    Random random;
    std::vector<Tensor> inputs{leaf(random.normal(c.x, options, 0.5, 2)),
                               leaf(random.uniform(c.parameter, options, 0.5, 2))};
    if (c.centred) inputs.push_back(leaf(random.normal(c.parameter, options)));
    const auto affine = [&](const std::vector<Tensor>& in) {
      return c.op(in[0], in[1], c.centred ? in[2] : Tensor());
    };
    CHECK(gradcheck(affine, inputs, {.max_elements = 30}));
    const auto plain = [&](const std::vector<Tensor>& in) { return c.op(in[0], {}, {}); };
    CHECK(gradcheck(plain, {inputs[0]}, {.max_elements = 30}));
  });
}

void check_norm_takes_views(const NormCase& c) {
  const auto check = [&](TensorOptions options) {
    INFO(c.name << "; x " << c.x.str());
    const Run dense(c, NormInput::ordinary, true, c.centred, options);
    for (const auto& view : {with_gaps, transposed_in_memory}) {
      Tensor x = leaf(dense.x);
      const Tensor y =
          c.op(transposed_in_memory(x), with_gaps(dense.gamma), c.centred ? with_gaps(dense.beta) : Tensor());
      y.backward(view(dense.dy));
      CHECK(same_bits(y, dense.y));
      CHECK(same_bits(x.grad(), dense.x.grad()));
      CHECK(same_bits(c.op(view(dense.x), dense.gamma, dense.beta), dense.y));
    }
  };
  for_each_kind(check);
  for_each_16bit_kind(check);
}

void check_norm_scales(const NormCase& c) {
  for (bool with_gamma : {false, true}) {
    Random random;
    const Tensor gamma = with_gamma ? random.uniform(c.parameter, {}, 0.5, 2) : Tensor();
    const Tensor x = random.normal(c.x, {}), dy = random.normal(c.x, {});
    const auto scaled_gradient = [&](double scale) {
      Tensor scaled = leaf(x * scale);
      c.op(scaled, gamma, {}).backward(dy);
      return scaled.grad() * scale;
    };
    const Array expected = to_array(scaled_gradient(1));
    for (double scale : {0x1p-100, 0x1p-66, 0x1p-60, 0x1p60, 0x1p83, 0x1p100}) {
      INFO(c.name << "; x " << c.x.str() << " times " << scale << ", gamma " << with_gamma);
      CHECK(close(scaled_gradient(scale), expected));
    }
  }
}

void check_norm_threads(const NormCase& c) {
  for_each_kind([&](TensorOptions options) {
    INFO(c.name << "; x " << c.x.str());
    check_independent_of_threads([&] {
      const Run run(c, NormInput::ordinary, true, c.centred, options);
      std::vector all{run.y, run.x.grad(), run.gamma.grad()};
      if (c.centred) all.push_back(run.beta.grad());
      return all;
    });
  });
}

void check_norm_partial_gradients(const NormCase& c) {
  for_each_storage_kind([&](TensorOptions options) {
    INFO(c.name << "; x " << c.x.str());
    const Run all(c, NormInput::ordinary, true, c.centred, options);
    std::vector<Tensor> expected{all.x.grad(), all.gamma.grad()};
    if (c.centred) expected.push_back(all.beta.grad());
    for (std::size_t w = 0; w < expected.size(); ++w) {
      INFO("input " << w);
      std::vector<Tensor> in{all.x.detach(), all.gamma.detach(), c.centred ? all.beta.detach() : Tensor()};
      in[w].requires_grad_();
      c.op(in[0], in[1], in[2]).backward(all.dy);
      for (std::size_t i = 0; i < expected.size(); ++i) CHECK(in[i].grad().defined() == (i == w));
      CHECK(same_bits(in[w].grad(), expected[w]));
    }
  });
}

}  // namespace evenkeel::test
