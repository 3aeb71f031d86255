// batch_norm, group_norm, layer_norm, layer_norm2d, rms_norm.
#include <algorithm>
#include <cmath>

#include "evenkeel/nn/functional.h"
#include "property/families.h"
#include "reference/norms.h"
#include "reference/tensor_ops.h"

namespace evenkeel::property {
namespace {

/// The case's part that all normalizations share: inputs 0 to 2 are x, gamma and beta.
struct Norm {
  reference::Partition partition;
  Sizes parameter;
  double eps;
  bool centred = true;
  bool fixed = false;  // the statistics are not those of x, but
  reference::Statistics statistics;

  reference::Statistics statistics_of(const Array& x) const {
    return fixed ? statistics : reference::statistics(x, partition, centred);
  }
  Array gamma_of(const std::vector<Array>& in) const {
    return in[1].shape == parameter ? in[1] : Array(parameter, 1);
  }
  Array beta_of(const std::vector<Array>& in) const {
    return in.size() > 2 && in[2].shape == parameter ? in[2] : Array(parameter);
  }
};

/// How much rounding there is in xhat: the largest of it and of |mean| / std, and the largest 1 / std.
void conditions(const Norm& n, const Array& x, double& xhat, double& rstd) {
  const reference::Statistics s = n.statistics_of(x);
  xhat = 1;
  rstd = 0;
  for (Index i = 0; i < x.numel(); ++i) {
    const Index set = n.partition.set[static_cast<std::size_t>(i)];
    const double r = 1 / std::sqrt(s.var[set] + n.eps), size = std::abs(x.values[i]) + std::abs(s.mean[set]);
    if (!std::isfinite(r) || !std::isfinite(size)) continue;
    xhat = std::max(xhat, size * r);
    rstd = std::max(rstd, r);
  }
}

void fill_in(OpCase& c, const Norm& n) {
  c.forward = [n](const std::vector<Array>& in) {
    const Array& x = in[0];
    return reference::normalize(x, n.partition, n.statistics_of(x), n.gamma_of(in), n.beta_of(in), n.eps);
  };
  c.backward = [n](const Array& dy, const std::vector<Array>& in) {
    const Array &x = in[0], gamma = n.gamma_of(in);
    reference::NormGradients d =
        n.fixed ? reference::normalize_backward_fixed(dy, x, n.partition, n.statistics, gamma, n.eps)
                : reference::normalize_backward(dy, x, n.partition, gamma, n.eps, n.centred);
    std::vector<Array> gradients{d.dx, d.dgamma};
    if (in.size() > 2) gradients.push_back(d.dbeta);
    return gradients;
  };
  c.scale = [n](const std::vector<Array>& in, const Array& y, const Array& dy) {
    const double gamma = largest_finite(n.gamma_of(in));
    double xhat = 1, rstd = 0;
    conditions(n, in[0], xhat, rstd);
    Array sums(n.parameter);
    for (Index i = 0; i < dy.numel(); ++i)
      sums.values[n.partition.parameter[static_cast<std::size_t>(i)]] += std::abs(dy.values[i]);
    const double dbeta = largest_finite(sums);
    return std::vector<double>{largest_finite(y) + gamma * xhat,
                               largest_finite(dy) * gamma * rstd * xhat * xhat, dbeta * xhat, dbeta};
  };
}

/// x [N, C, ...] with at most 5 axes.
Sizes images(Gen& gen) { return gen.shape(gen.chance(65) ? 4 : static_cast<int>(gen.integer(2, 5))); }

std::vector<Operand> with_parameters(const Sizes& x, const Sizes& parameter, bool special, Gen& gen) {
  return {gen.operand(x, special), gen.chance(75) ? gen.parameter(parameter) : Gen::undefined(),
          gen.chance(75) ? gen.parameter(parameter) : Gen::undefined()};
}

/// Now and then a parameter that does not fit.
void spoil_parameter(OpCase& c, Gen& gen) {
  if (!gen.chance(4)) return;
  Operand& p = c.inputs[static_cast<std::size_t>(gen.integer(1, static_cast<Index>(c.inputs.size()) - 1))];
  Sizes shape = p.defined ? p.values.shape : Sizes{};
  if (shape.empty()) return;
  shape.back() += 1;
  p = gen.parameter(shape);
  c.invalid = "a parameter does not fit";
  c.torch_has_it = false;  // it does not look where x is empty
}

double draw_eps(Gen& gen) { return gen.chance(80) ? 1e-5 : gen.uniform(1e-3, 1e-1); }

void group_norm_case(Gen& gen) {
  OpCase c;
  c.op = "group_norm";
  Sizes shape = images(gen);
  Index groups = gen.pick({1, 1, 2, 3, 4, shape[1]});
  if (gen.chance(70) && groups > 0) shape[1] = std::max<Index>(1, shape[1] / groups) * groups;
  if (gen.chance(4) && shape[1] > 0) groups = gen.chance(50) ? gen.huge() : gen.pick({0, -1, INT64_MIN});
  if (groups < 1 || shape[1] % groups != 0) c.invalid = "the groups do not divide the channels";
  if (shape[1] == 0) c.may_refuse = true;
  c.inputs = with_parameters(shape, {shape[1]}, true, gen);
  Norm n;
  n.parameter = {shape[1]};
  n.eps = draw_eps(gen);
  c.torch_has_it = reference::numel(shape) > 0;
  c.args = fmt::format(R"("groups": {}, "eps": {})", groups, n.eps);
  spoil_parameter(c, gen);
  damage(c, gen, Damage::any, 1);
  c.run = [=](const std::vector<Tensor>& in) { return group_norm(in[0], groups, in[1], in[2], n.eps); };
  if (c.invalid.empty()) n.partition = reference::group_norm_partition(shape, groups);
  fill_in(c, n);
  check(c, gen);
}

void layer_norm_case(Gen& gen) {
  OpCase c;
  c.op = "layer_norm";
  const Sizes shape = gen.shape(static_cast<int>(gen.integer(1, 5)));
  const auto axes = static_cast<std::size_t>(gen.integer(1, static_cast<Index>(shape.size())));
  Sizes normalized(shape.end() - static_cast<std::ptrdiff_t>(axes), shape.end());
  Norm n;
  n.parameter = normalized;
  n.eps = draw_eps(gen);
  c.inputs = with_parameters(shape, normalized, true, gen);
  spoil_parameter(c, gen);
  if (gen.chance(3)) {
    normalized.back() = gen.chance(50) ? normalized.back() + 1 : gen.huge();
    c.invalid = "x does not end in that shape";
  } else if (gen.chance(2)) {
    normalized = {};
    c.invalid = "the shape has no axes";
  }
  c.args = fmt::format(R"("shape": {}, "eps": {})", str(normalized), n.eps);
  damage(c, gen, Damage::any, 1);
  c.run = [=](const std::vector<Tensor>& in) {
    return layer_norm(in[0], to_shape(normalized), in[1], in[2], n.eps);
  };
  n.partition = reference::layer_norm_partition(shape, static_cast<int>(axes));
  fill_in(c, n);
  check(c, gen);
}

void rms_norm_case(Gen& gen) {
  OpCase c;
  c.op = "rms_norm";
  const Sizes shape = gen.shape(static_cast<int>(gen.integer(1, 5)));
  const auto axes = static_cast<std::size_t>(gen.integer(1, static_cast<Index>(shape.size())));
  Sizes normalized(shape.end() - static_cast<std::ptrdiff_t>(axes), shape.end());
  Norm n;
  n.parameter = normalized;
  n.eps = draw_eps(gen);
  n.centred = false;
  c.inputs = {gen.operand(shape, true), gen.chance(75) ? gen.parameter(normalized) : Gen::undefined()};
  spoil_parameter(c, gen);
  if (gen.chance(3)) {
    normalized.back() = gen.chance(50) ? normalized.back() + 1 : gen.huge();
    c.invalid = "x does not end in that shape";
  }
  c.args = fmt::format(R"("shape": {}, "eps": {})", str(normalized), n.eps);
  c.torch_has_it = false;
  damage(c, gen, Damage::any, 1);
  c.run = [=](const std::vector<Tensor>& in) { return rms_norm(in[0], to_shape(normalized), in[1], n.eps); };
  n.partition = reference::layer_norm_partition(shape, static_cast<int>(axes));
  fill_in(c, n);
  check(c, gen);
}

void layer_norm2d_case(Gen& gen) {
  OpCase c;
  c.op = "layer_norm2d";
  const Sizes shape = gen.chance(4) ? gen.shape(1) : images(gen);
  const Sizes channels = shape.size() < 2 ? Sizes{3} : Sizes{shape[1]};
  c.inputs = with_parameters(shape, channels, true, gen);
  if (shape.size() < 2) c.invalid = "x needs a channel axis";
  Norm n;
  n.parameter = channels;
  n.eps = draw_eps(gen);
  c.args = fmt::format(R"("eps": {})", n.eps);
  c.torch_has_it = false;
  spoil_parameter(c, gen);
  damage(c, gen, Damage::any, 1);
  c.run = [=](const std::vector<Tensor>& in) { return layer_norm2d(in[0], in[1], in[2], n.eps); };
  if (c.invalid.empty()) n.partition = reference::layer_norm2d_partition(shape);
  fill_in(c, n);
  check(c, gen);
}

/// The running statistics: made anew for each run, laid out anyhow, and judged after it.
struct Running {
  Operand mean, var;
  Array new_mean, new_var;
  bool must_refuse = false;  // elements share a place, so that they cannot be written
  double scale_mean = 1, scale_var = 1;

  Tensor run(const std::vector<Tensor>& in, bool training, double momentum, double eps) const {
    const Tensor& like = in[1].defined() ? in[1] : in[0];
    const DType dtype = like.defined() ? like.dtype() : DType::f32;
    const Device device = like.defined() ? like.device() : Device::cpu();
    Tensor m = make_tensor(mean, dtype, device), v = make_tensor(var, dtype, device);
    std::vector<Snapshot> before;
    if (m.defined()) before = {Snapshot(m), Snapshot(v)};
    Tensor y;
    try {
      y = batch_norm(in[0], m, v, in[1], in[2], training, momentum, eps);
    } catch (const Error&) {
      if (m.defined()) {
        before[0].must_be_unchanged("running_mean, though batch_norm refused it,");
        before[1].must_be_unchanged("running_var, though batch_norm refused it,");
      }
      throw;
    }
    if (m.defined()) {
      before[0].must_be_unchanged("memory beside running_mean", m);
      before[1].must_be_unchanged("memory beside running_var", v);
    }
    if (m.defined() && !must_refuse) {
      must_equal("running_mean", m, new_mean, scale_mean);
      must_equal("running_var", v, new_var, scale_var);
    }
    return y;
  }
};

void batch_norm_case(Gen& gen) {
  OpCase c;
  c.op = "batch_norm";
  const Sizes shape = images(gen);
  const Sizes channels{shape[1]};
  const bool training = gen.chance(60), tracked = !training || gen.chance(70);
  const double momentum = gen.chance(40) ? 0.1 : gen.chance(40) ? 1 : gen.uniform(0, 1);
  Norm n;
  n.parameter = channels;
  n.eps = draw_eps(gen);
  n.partition = reference::batch_norm_partition(shape);
  n.fixed = !training;
  c.inputs = with_parameters(shape, channels, !training || !tracked, gen);
  Running running{Gen::undefined(), Gen::undefined(), {}, {}};
  if (tracked) {
    running.mean = gen.parameter(channels);
    running.var = gen.parameter(channels);
    running.mean.gradient = running.var.gradient = false;
    running.var.values.values = running.var.values.values.abs() + 0.25;
  }
  const Index per_channel = shape[1] > 0 ? reference::numel(shape) / shape[1] : 0;
  if (training && per_channel == 1 && shape[1] > 0) c.invalid = "one value has no variance";
  if (training && tracked && per_channel > 0 &&
      (overlaps_itself(running.mean) || overlaps_itself(running.var))) {
    c.invalid = "the running statistics share memory";
    c.torch_has_it = false;
  }
  // Nothing is written where x has no elements, so that what could not be written may be refused or not.
  c.may_refuse = shape[1] == 0 || (per_channel == 0 && tracked &&
                                   (overlaps_itself(running.mean) || overlaps_itself(running.var)));
  running.must_refuse = !c.invalid.empty();
  c.args = fmt::format(R"("training": {}, "momentum": {}, "eps": {}, "tracked": {})", training, momentum,
                       n.eps, tracked);
  spoil_parameter(c, gen);
  damage(c, gen, Damage::undefined, 1);
  running.must_refuse |= !c.invalid.empty();
  if (tracked) {
    running.new_mean = running.mean.values;
    running.new_var = running.var.values;
    n.statistics = {running.mean.values.values, running.var.values.values,
                    Eigen::ArrayXd::Constant(shape[1], static_cast<double>(per_channel))};
    if (training && per_channel > 1) {
      const reference::Statistics s = reference::statistics(c.inputs[0].values, n.partition);
      running.new_mean = reference::running_average(running.mean.values, s.mean, momentum);
      running.new_var = reference::running_average(running.var.values, reference::unbiased(s), momentum);
      const double x = largest_finite(c.inputs[0].values);
      running.scale_mean = x + largest_finite(running.mean.values);
      running.scale_var = x * x + largest_finite(running.var.values);
    }
  }
  for (const Operand* o : {&running.mean, &running.var}) {
    if (o->defined)
      c.args += fmt::format(R"(, "running_{}": "{}")", o == &running.mean ? "mean" : "var", describe(*o));
    if (case_writer == nullptr || !o->defined) continue;
    c.inputs.push_back(*o);  // for PyTorch, which is given them
  }
  c.run = [=](const std::vector<Tensor>& in) { return running.run(in, training, momentum, n.eps); };
  fill_in(c, n);
  check(c, gen);
}

}  // namespace

void add_normalizations(std::vector<Property>& all) {
  all.insert(all.end(), {{"batch_norm", batch_norm_case},
                         {"group_norm", group_norm_case},
                         {"layer_norm", layer_norm_case},
                         {"layer_norm2d", layer_norm2d_case},
                         {"rms_norm", rms_norm_case}});
}

}  // namespace evenkeel::property
