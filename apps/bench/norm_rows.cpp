// Rows of the normalizations. They differ in the partition of x into sets that share statistics, and in
// kernel.
#include "bench/norm_kernels.h"
#include "bench/op_rows.h"
#include "reference/norms.h"

namespace evenkeel::bench {
namespace {

constexpr double kEps = 1e-5, kMomentum = 0.1;
/// Data whose mean is this many times its standard deviation.
constexpr double kFarMean = 100;
/// Nominal operations an element: two passes for the statistics and one for y; two sums and dx.
constexpr double kForwardFlops = 8, kBackwardFlops = 12;

struct Norm {
  std::string op, variant = {};
  Shape x, stats = {}, parameter = {};
  bool affine = true, running = false, centred = true;
  nlohmann::json parameters = {};
  std::function<reference::Partition()> partition = {};
  Kernel forward = {}, backward = {};
};

template <typename T>
const Arithmetic<T>* parameter_or_null(const Norm& norm, DeviceArrays& a, const char* name) {
  return norm.affine ? a.in<Arithmetic<T>>(name) : nullptr;
}
template <typename T>
Arithmetic<T>* gradient_or_null(const Norm& norm, DeviceArrays& a, const char* name) {
  return norm.affine ? a.out<Arithmetic<T>>(name) : nullptr;
}

Array array_of(const Eigen::ArrayXd& values) {
  Array a({values.size()});
  a.values = values;
  return a;
}
Array rstd_of(const reference::Statistics& stats) { return array_of((stats.var + kEps).rsqrt()); }

Array parameter_of(const Norm& norm, const Values& in, const char* name, double otherwise) {
  const auto found = in.find(name);
  return found != in.end() ? found->second : Array({norm.parameter.numel()}, otherwise);
}

Row norm_row(const Norm& norm, const char* pass, const Kind& kind, double flops) {
  Row row = make_row(norm.op, pass, norm.x, kind, flops);
  row.variant = norm.variant;
  row.parameters = norm.parameters;
  return row;
}

Row forward_row(const Norm& norm, const Kind& kind, double mean_of_x) {
  Row row = norm_row(norm, "forward", kind, kForwardFlops);
  const auto add = [&](const char* name, Role role, const Shape& shape, Fill fill) {
    const bool is_image = shape == norm.x;
    row.operands.push_back(
        {name, role, shape, is_image ? kind.dtype : arithmetic_of(kind.dtype), std::move(fill)});
  };
  add("x", Role::input, norm.x, normal(mean_of_x));
  if (norm.affine) add("gamma", Role::input, norm.parameter, normal());
  if (norm.affine && norm.centred) add("beta", Role::input, norm.parameter, normal());
  if (norm.running) add("running_mean", Role::in_out, norm.stats, normal());
  if (norm.running) add("running_var", Role::in_out, norm.stats, positive());
  add("y", Role::output, norm.x, {});
  add("mean", Role::output, norm.stats, {});
  add("rstd", Role::output, norm.stats, {});
  row.bind = norm.forward.chosen;
  row.reference = [norm](const Values& in) {
    const reference::Partition partition = norm.partition();
    const Array& x = in.at("x");
    const reference::Statistics stats = reference::statistics(x, partition, norm.centred);
    std::map<std::string, Expected> out;
    out["y"].values = reference::normalize(x, partition, stats, parameter_of(norm, in, "gamma", 1),
                                           parameter_of(norm, in, "beta", 0), kEps);
    out["mean"].values = array_of(stats.mean);
    out["rstd"].values = rstd_of(stats);
    if (norm.running) {
      out["running_mean"].values = reference::running_average(in.at("running_mean"), stats.mean, kMomentum);
      out["running_var"].values =
          reference::running_average(in.at("running_var"), reference::unbiased(stats), kMomentum);
    }
    return out;
  };
  return row;
}

Row backward_row(const Norm& norm, const Kind& kind, double mean_of_x) {
  Row row = norm_row(norm, "backward", kind, kBackwardFlops);
  const auto add = [&](const char* name, Role role, const Shape& shape, Fill fill) {
    const bool is_image = shape == norm.x;
    row.operands.push_back(
        {name, role, shape, is_image ? kind.dtype : arithmetic_of(kind.dtype), std::move(fill)});
  };
  const auto stats = [norm](const Values& in) {
    return reference::statistics(in.at("x"), norm.partition(), norm.centred);
  };
  add("x", Role::input, norm.x, normal(mean_of_x));
  add("mean", Role::input, norm.stats, derived([=](const Values& in) { return array_of(stats(in).mean); }));
  add("rstd", Role::input, norm.stats, derived([=](const Values& in) { return rstd_of(stats(in)); }));
  add("dy", Role::input, norm.x, normal());
  if (norm.affine) add("gamma", Role::input, norm.parameter, normal());
  add("dx", Role::output, norm.x, {});
  if (norm.affine) add("dgamma", Role::output, norm.parameter, {});
  if (norm.affine && norm.centred) add("dbeta", Role::output, norm.parameter, {});
  row.bind = norm.backward.chosen;
  row.reference = [norm](const Values& in) {
    auto gradients = reference::normalize_backward(in.at("dy"), in.at("x"), norm.partition(),
                                                   parameter_of(norm, in, "gamma", 1), kEps, norm.centred);
    std::map<std::string, Expected> out;
    out["dx"].values = std::move(gradients.dx);
    if (norm.affine) out["dgamma"].values = std::move(gradients.dgamma);
    if (norm.affine && norm.centred) out["dbeta"].values = std::move(gradients.dbeta);
    return out;
  };
  return row;
}

/// The partition and sizes of the args of a norm, those of x [N, C, S].
struct Sizes {
  NormPartition partition;
  std::int64_t N, C, S, G = 1;
};
Sizes planes(NormPartition partition, const Shape& x) { return {partition, x[0], x[1], x[2] * x[3]}; }

/// Sets the forward and the backward kernel of a norm.
void set_kernels(Norm& norm, const Kind& kind, const Sizes& s) {
  const auto forward_args = [=, norm = norm]<typename T>(DeviceArrays* a) {
    using A = Arithmetic<T>;
    NormForwardArgs<T> args{.partition = s.partition,
                            .N = s.N,
                            .C = s.C,
                            .S = s.S,
                            .G = s.G,
                            .centred = norm.centred,
                            .eps = kEps,
                            .momentum = kMomentum};
    if (a == nullptr) return args;
    args.y = a->out<T>("y");
    args.mean = a->out<A>("mean");
    args.rstd = a->out<A>("rstd");
    args.x = a->in<T>("x");
    args.gamma = parameter_or_null<T>(norm, *a, "gamma");
    if (norm.centred) args.beta = parameter_or_null<T>(norm, *a, "beta");
    if (norm.running) {
      args.running_mean = a->out<A>("running_mean");
      args.running_var = a->out<A>("running_var");
    }
    return args;
  };
  const auto backward_args = [=, norm = norm]<typename T>(DeviceArrays* a) {
    using A = Arithmetic<T>;
    NormBackwardArgs<T> args{
        .partition = s.partition, .N = s.N, .C = s.C, .S = s.S, .G = s.G, .centred = norm.centred};
    if (a == nullptr) return args;
    args.dx = a->out<T>("dx");
    args.dgamma = gradient_or_null<T>(norm, *a, "dgamma");
    if (norm.centred) args.dbeta = gradient_or_null<T>(norm, *a, "dbeta");
    args.dy = a->in<T>("dy");
    args.x = a->in<T>("x");
    args.mean = a->in<A>("mean");
    args.rstd = a->in<A>("rstd");
    args.gamma = parameter_or_null<T>(norm, *a, "gamma");
    return args;
  };
  norm.forward = make_kernel(
      kind, forward_args, []<typename T>(NormPartition p) { return all_forward_variants<T>(p); },
      []<typename T>(const NormForwardArgs<T>& args, DeviceArrays& a) {
        return launch_storage<cpu::norm_forward<T>, cuda::norm_forward<T>>("norm_forward", a, args);
      });
  norm.backward = make_kernel(
      kind, backward_args, []<typename T>(NormPartition p) { return all_backward_variants<T>(p); },
      []<typename T>(const NormBackwardArgs<T>& args, DeviceArrays& a) {
        return launch_storage<cpu::norm_backward<T>, cuda::norm_backward<T>>("norm_backward", a, args);
      });
}

Norm batch_norm(const Shape& x, const Kind& kind) {
  Norm norm{.op = "batch_norm", .x = x, .stats = {x[1]}, .parameter = {x[1]}, .running = true};
  norm.partition = [x] { return reference::batch_norm_partition(sizes_of(x)); };
  set_kernels(norm, kind, planes(NormPartition::batch, x));
  return norm;
}

Norm group_norm(const Shape& x, const Kind& kind, std::int64_t groups) {
  Norm norm{.op = "group_norm",
            .variant = fmt::format("{} groups", groups),
            .x = x,
            .stats = {x[0], groups},
            .parameter = {x[1]},
            .parameters = {{"groups", groups}}};
  norm.partition = [=] { return reference::group_norm_partition(sizes_of(x), groups); };
  Sizes sizes = planes(NormPartition::group, x);
  sizes.G = groups;
  set_kernels(norm, kind, sizes);
  return norm;
}

/// In two groups where that can be, and instance norm: a channel a group.
std::vector<Norm> group_norms(const Shape& x, const Kind& kind) {
  if (x.rank() != 4) return {};
  const std::int64_t C = x[1], groups = C % 2 == 0 ? 2 : 1;
  std::vector<Norm> norms{group_norm(x, kind, groups)};
  if (C != groups) norms.push_back(group_norm(x, kind, C));
  return norms;
}

/// Layer norm over the last `axes` axes.
Norm layer_norm(const Shape& x, const Kind& kind, int axes, const char* variant, bool affine) {
  Norm norm{.op = "layer_norm", .variant = variant, .x = x, .affine = affine};
  for (int d = 0; d < x.rank(); ++d) (d < x.rank() - axes ? norm.stats : norm.parameter).push_back(x[d]);
  norm.parameters = {{"normalized_shape", sizes_of(norm.parameter)}, {"affine", affine}};
  norm.partition = [=] { return reference::layer_norm_partition(sizes_of(x), axes); };
  set_kernels(norm, kind, {NormPartition::rows, x[0], norm.stats.numel() / x[0], norm.parameter.numel()});
  return norm;
}

Norm rms_norm(const Shape& x, const Kind& kind) {
  Norm norm{.op = "rms_norm", .x = x, .affine = true, .centred = false};
  for (int d = 0; d < x.rank(); ++d) (d < x.rank() - 1 ? norm.stats : norm.parameter).push_back(x[d]);
  norm.parameters = {{"normalized_shape", sizes_of(norm.parameter)}, {"eps", kEps}};
  norm.partition = [x] { return reference::layer_norm_partition(sizes_of(x), 1); };
  set_kernels(norm, kind, {NormPartition::rows, x[0], norm.stats.numel() / x[0], norm.parameter.numel()});
  return norm;
}

Norm layer_norm2d(const Shape& x, const Kind& kind) {
  Norm norm{.op = "layer_norm2d", .x = x, .stats = {x[0], x[2] * x[3]}, .parameter = {x[1]}};
  norm.partition = [x] { return reference::layer_norm2d_partition(sizes_of(x)); };
  set_kernels(norm, kind, planes(NormPartition::pixels, x));
  return norm;
}

/// The norms of one op at a shape of x.
using Norms = std::function<std::vector<Norm>(const Shape&, const Kind&)>;

/// A row of the dispatcher's choice and, on CUDA, one of each rung of the ladder.
void add_ladder(std::vector<Row>& rows, const Row& chosen, const Kernel& kernel) {
  rows.push_back(chosen);
  for (const auto& [name, bind] : kernel.rungs) {
    Row row = chosen;
    row.variant += fmt::format("{}{}", row.variant.empty() ? "" : ", ", name);
    row.bind = bind;
    rows.push_back(std::move(row));
  }
}

/// Forward and backward, on standard normal data and, of the dispatcher's choice, on data with a far mean.
std::vector<Row> rows_of(const Norms& norms, const Kind& kind, const Shape& shape, bool far_mean) {
  std::vector<Row> rows;
  for (Norm& norm : norms(shape, kind)) {
    add_ladder(rows, forward_row(norm, kind, 0), norm.forward);
    add_ladder(rows, backward_row(norm, kind, 0), norm.backward);
    if (!far_mean) continue;
    norm.variant += fmt::format("{}mean {}", norm.variant.empty() ? "" : ", ", kFarMean);
    rows.push_back(forward_row(norm, kind, kFarMean));
    rows.push_back(backward_row(norm, kind, kFarMean));
  }
  return rows;
}

Op norm_op(std::string name, const std::vector<Shape>& shapes, const Norms& norms) {
  Op op{std::move(name), {}, {}, /*stores_16bit=*/true};
  op.at = [=](const Kind& kind, const Shape& shape) { return rows_of(norms, kind, shape, true); };
  op.listed = [=](const Kind& kind) {
    std::vector<Row> rows;
    for (const Shape& shape : shapes) {
      const bool far_mean = shape == shapes.front() || shape == kLargeShape;
      for (Row& row : rows_of(norms, kind, shape, far_mean)) rows.push_back(std::move(row));
    }
    return rows;
  };
  return op;
}

/// Norms that need x [N, C, H, W].
template <typename F>
Norms of_images(F f) {
  return [f](const Shape& x, const Kind& kind) {
    return x.rank() == 4 ? std::vector<Norm>{f(x, kind)} : std::vector<Norm>{};
  };
}

std::vector<Norm> layer_norms(const Shape& x, const Kind& kind) {
  if (x.rank() == 2) return {layer_norm(x, kind, 1, "row", true)};
  if (x.rank() != 4) return {};
  return {layer_norm(x, kind, 3, "chw", true), layer_norm(x, kind, 1, "row", false)};
}

/// Over the last axis of x with two axes or more.
std::vector<Norm> rms_norms(const Shape& x, const Kind& kind) {
  if (x.rank() < 2) return {};
  return {rms_norm(x, kind)};
}

}  // namespace

std::vector<Op> norm_ops() {
  const std::vector<Shape> shapes = with(kBlockShapes, {kLargeShape});
  return {norm_op("batch_norm", shapes, of_images(batch_norm)), norm_op("group_norm", shapes, group_norms),
          norm_op("layer_norm", with(shapes, {kLargeRows}), layer_norms),
          norm_op("layer_norm2d", shapes, of_images(layer_norm2d)),
          norm_op("rms_norm", {kLargeRows}, rms_norms)};
}

}  // namespace evenkeel::bench
