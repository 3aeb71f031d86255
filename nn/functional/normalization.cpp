#include "evenkeel/core/dispatch.h"
#include "evenkeel/kernels/norm.h"
#include "evenkeel/nn/functional/common.h"
#include "evenkeel/nn/functional/units.h"

namespace evenkeel {

using namespace functional;

namespace {

/// The product of the sizes of axes first, first+1, ...
std::int64_t size_from(const Shape& shape, int first) {
  std::int64_t n = 1;
  for (int d = first; d < shape.rank(); ++d) n *= shape[d];
  return n;
}

/// x [N, C, ...], and affine parameters that are undefined or [C].
void check_channels(const char* op, const Tensor& x, const Tensor& gamma, const Tensor& beta) {
  check_parameters(op, x, {}, {&gamma, &beta});
  EK_CHECK(x.rank() >= 2, "{}: x has shape {}, it needs a batch and a channel axis", op, x.shape().str());
  for (const Tensor* p : {&gamma, &beta}) {
    EK_CHECK(!p->defined() || p->shape() == Shape{x.size(1)},
             "{}: a parameter of shape {} does not fit x of shape {}", op, p->shape().str(), x.shape().str());
  }
}

/// The difference of 1 and the next larger number.
double machine_epsilon(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return 0x1p-52;
    case DType::bf16:
      return 0x1p-7;
    case DType::f16:
      return 0x1p-10;
    default:
      return 0x1p-23;
  }
}

/// The gradients of a normalization: dx, dgamma and dbeta, each only where wanted; 0 where x has no elements,
/// which no kernel is called for.
struct NormGradients {
  Tensor dx, dgamma, dbeta;
  NormGradients(const Tensor& x, const Shape& parameter, bool want_x, bool want_gamma, bool want_beta)
      : dx(empty_if(want_x, x.shape(), x.options())),
        dgamma(empty_if(want_gamma, parameter, parameters_of(x))),
        dbeta(empty_if(want_beta, parameter, parameters_of(x))) {
    if (x.numel() > 0) return;
    if (want_gamma) dgamma.zero_();
    if (want_beta) dbeta.zero_();
  }
  std::vector<Tensor> list() const { return {dx, dgamma, dbeta}; }
};

/// The running statistics of batch norm, either of which may be any view that does not overlap itself or the
/// other: training updates them in place, evaluation reads them.
struct RunningStatistics {
  DenseTarget mean, var;
  bool updated;

  RunningStatistics(const Tensor& running_mean, const Tensor& running_var, bool training)
      : mean("batch_norm", training ? running_mean : dense(running_mean)),
        var("batch_norm", training ? running_var : dense(running_var)),
        updated(training) {
    EK_CHECK(!training || !share_memory(running_mean, running_var),
             "batch_norm: running_mean and running_var share memory, so one would overwrite the other; give "
             "each its own");
  }
  /// x, or a copy of it where it lies in the statistics that are updated.
  Tensor apart(const Tensor& x) const { return updated ? apart_from(x, {&mean.target(), &var.target()}) : x; }
  template <typename T>
  T* memory(DenseTarget& target) {
    return updated ? out<T>(target.memory()) : const_cast<T*>(in<T>(target.memory()));
  }
  void store() {
    mean.store();
    var.store();
  }
};

/// What sets one normalization apart from the others: kernels/norm.h.
struct Normalization {
  const char *op, *forward = op, *backward = op;  // in errors and in the graph, and in profiles
  NormPartition partition;
  std::int64_t N, C, S, G = 1;
  bool centred = true;
  Shape statistics, parameter;  // of mean and rstd, and of gamma and beta
  double eps = 0;
  double momentum = 0;  // batch norm
  bool training = true;
};

/// The norm as a fused block.
FusedBlock block_of(const Normalization& n, const Tensor& gamma, const Tensor& beta,
                    const RunningStatistics* running) {
  FusedBlock block{.norm = n.partition,
                   .groups = n.G,
                   .gamma = gamma,
                   .beta = beta,
                   .training = n.training,
                   .eps = n.eps,
                   .momentum = n.momentum};
  if (n.partition == NormPartition::rows) block.normalized_shape = n.parameter;
  if (running != nullptr) {
    block.running_mean = running->mean.target();
    block.running_var = running->var.target();
  }
  return block;
}

/// The op of every normalization: allocates, runs the kernel, records backward. `running` is batch norm's.
Tensor normalize(const Normalization& n, const Tensor& input, const Tensor& gamma, const Tensor& beta,
                 RunningStatistics* running = nullptr) {
  if (n.centred) {
    if (Tensor y = fused_alone({n.op, n.forward, n.backward}, input, block_of(n, gamma, beta, running));
        y.defined())
      return y;
  }
  const auto apart = [&](const Tensor& t) { return running != nullptr ? running->apart(t) : t; };
  const Tensor x = apart(dense(input)), g = apart(dense(gamma)), b = apart(dense(beta));
  Tensor y = empty_like(x), mean = empty(n.statistics, parameters_of(x)),
         rstd = empty(n.statistics, parameters_of(x));
  dispatch_storage(
      x.dtype(), x.device(),
      [&]<typename T>() {
        using A = Arithmetic<T>;
        if (x.numel() == 0) return;
        const NormForwardArgs<T> args{
            .y = out<T>(y),
            .mean = out<A>(mean),
            .rstd = out<A>(rstd),
            .running_mean = running != nullptr ? running->memory<A>(running->mean) : nullptr,
            .running_var = running != nullptr ? running->memory<A>(running->var) : nullptr,
            .x = in<T>(x),
            .gamma = in<A>(g),
            .beta = in<A>(b),
            .partition = n.partition,
            .N = n.N,
            .C = n.C,
            .S = n.S,
            .G = n.G,
            .centred = n.centred,
            .eps = n.eps,
            .momentum = n.momentum,
            .training = n.training};
        run_storage_kernel<cpu::norm_forward<T>, cuda::norm_forward<T>>(n.forward, x.device(), args);
      },
      n.op);
  if (running != nullptr) running->store();
  record(n.op, y, {&input, &gamma, &beta},
         [n, x = Saved(x), mean = Saved(mean), rstd = Saved(rstd), g = Saved(g), want_x = wants_grad(input),
          want_gamma = wants_grad(gamma), want_beta = wants_grad(beta)](const Tensor& dy) {
           NormGradients d(*x, n.parameter, want_x, want_gamma, want_beta);
           dispatch_storage(dy.dtype(), dy.device(), [&]<typename T>() {
             using A = Arithmetic<T>;
             if (dy.numel() == 0) return;
             const NormBackwardArgs<T> args{.dx = out<T>(d.dx),
                                            .dgamma = out<A>(d.dgamma),
                                            .dbeta = out<A>(d.dbeta),
                                            .dy = in<T>(dy),
                                            .x = in<T>(*x),
                                            .mean = in<A>(*mean),
                                            .rstd = in<A>(*rstd),
                                            .gamma = in<A>(*g),
                                            .partition = n.partition,
                                            .N = n.N,
                                            .C = n.C,
                                            .S = n.S,
                                            .G = n.G,
                                            .centred = n.centred,
                                            .training = n.training};
             run_storage_kernel<cpu::norm_backward<T>, cuda::norm_backward<T>>(n.backward, dy.device(), args);
           });
           return d.list();
         });
  return y;
}

}  // namespace

Tensor batch_norm(const Tensor& x, Tensor running_mean, Tensor running_var, const Tensor& gamma,
                  const Tensor& beta, bool training, double momentum, double eps) {
  check_channels("batch_norm", x, gamma, beta);
  check_channels("batch_norm", x, running_mean, running_var);
  const std::int64_t N = x.size(0), C = x.size(1), S = size_from(x.shape(), 2);
  EK_CHECK(running_mean.defined() == running_var.defined() && (training || running_mean.defined()),
           "batch_norm: running_mean and running_var come together, and evaluation needs them");
  EK_CHECK(!training || N * S != 1 || C == 0,
           "batch_norm: training needs more than one value per channel, x has shape {}", x.shape().str());
  RunningStatistics running(running_mean, running_var, training);
  return normalize({.op = "batch_norm",
                    .forward = "batch_norm_forward",
                    .backward = "batch_norm_backward",
                    .partition = NormPartition::batch,
                    .N = N,
                    .C = C,
                    .S = S,
                    .statistics = {C},
                    .parameter = {C},
                    .eps = eps,
                    .momentum = momentum,
                    .training = training},
                   x, gamma, beta, &running);
}

Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& gamma, const Tensor& beta, double eps) {
  check_channels("group_norm", x, gamma, beta);
  const std::int64_t N = x.size(0), C = x.size(1), S = size_from(x.shape(), 2);
  EK_CHECK(groups >= 1 && C % groups == 0, "group_norm: {} groups do not divide the {} channels of x {}",
           groups, C, x.shape().str());
  return normalize({.op = "group_norm",
                    .forward = "group_norm_forward",
                    .backward = "group_norm_backward",
                    .partition = NormPartition::group,
                    .N = N,
                    .C = C,
                    .S = S,
                    .G = groups,
                    .statistics = {N, groups},
                    .parameter = {C},
                    .eps = eps},
                   x, gamma, beta);
}

namespace {

/// x ends in `normalized_shape`, which the parameters have: the rows that are normalised, those of an image
/// each, unless a row is of several images.
Normalization over_rows(const char* op, const Tensor& x, const Shape& normalized_shape, const Tensor& gamma,
                        const Tensor& beta) {
  check_parameters(op, x, {}, {&gamma, &beta});
  const int kept = x.rank() - normalized_shape.rank();
  EK_CHECK(kept >= 0 && normalized_shape.rank() >= 1 &&
               std::equal(normalized_shape.begin(), normalized_shape.end(), x.shape().begin() + kept),
           "{}: x of shape {} does not end in {}", op, x.shape().str(), normalized_shape.str());
  for (const Tensor* p : {&gamma, &beta}) {
    EK_CHECK(!p->defined() || p->shape() == normalized_shape, "{}: a parameter of shape {} does not fit {}",
             op, p->shape().str(), normalized_shape.str());
  }
  const std::int64_t D = normalized_shape.numel(), M = D > 0 ? x.numel() / D : 0;
  const std::int64_t N = kept > 0 && x.size(0) > 0 ? x.size(0) : 1;
  return {.op = op,
          .partition = NormPartition::rows,
          .N = N,
          .C = M / N,
          .S = D,
          .statistics = {N, M / N},
          .parameter = normalized_shape};
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& gamma, const Tensor& beta,
                  double eps) {
  Normalization n = over_rows("layer_norm", x, normalized_shape, gamma, beta);
  n.forward = "layer_norm_forward";
  n.backward = "layer_norm_backward";
  n.eps = eps;
  return normalize(n, x, gamma, beta);
}

Tensor rms_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& gamma,
                std::optional<double> eps) {
  Normalization n = over_rows("rms_norm", x, normalized_shape, gamma, {});
  n.forward = "rms_norm_forward";
  n.backward = "rms_norm_backward";
  n.centred = false;
  n.eps = eps ? *eps : machine_epsilon(x.dtype());
  return normalize(n, x, gamma, {});
}

Tensor layer_norm2d(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps) {
  check_channels("layer_norm2d", x, gamma, beta);
  const std::int64_t N = x.size(0), C = x.size(1), S = size_from(x.shape(), 2);
  return normalize({.op = "layer_norm2d",
                    .forward = "layer_norm2d_forward",
                    .backward = "layer_norm2d_backward",
                    .partition = NormPartition::pixels,
                    .N = N,
                    .C = C,
                    .S = S,
                    .statistics = {N, S},
                    .parameter = {C},
                    .eps = eps},
                   x, gamma, beta);
}

}  // namespace evenkeel
