#include "evenkeel/core/dispatch.h"
#include "evenkeel/kernels/batch_norm.h"
#include "evenkeel/kernels/group_norm.h"
#include "evenkeel/kernels/layer_norm.h"
#include "evenkeel/kernels/layer_norm2d.h"
#include "evenkeel/nn/functional/common.h"

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

/// The gradients of a normalization: dx, dgamma and dbeta, each only where wanted; 0 where x has no elements,
/// which no kernel is called for.
struct NormGradients {
  Tensor dx, dgamma, dbeta;
  NormGradients(const Tensor& x, const Shape& parameter, bool want_x, bool want_gamma, bool want_beta)
      : dx(empty_if(want_x, x.shape(), x.options(), x.format())),
        dgamma(empty_if(want_gamma, parameter, parameters_of(x))),
        dbeta(empty_if(want_beta, parameter, parameters_of(x))) {
    if (x.numel() > 0) return;
    if (want_gamma) dgamma.zero_();
    if (want_beta) dbeta.zero_();
  }
  std::vector<Tensor> list() const { return {dx, dgamma, dbeta}; }
};

}  // namespace

namespace {

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

}  // namespace

Tensor batch_norm(const Tensor& input, Tensor running_mean, Tensor running_var, const Tensor& gamma,
                  const Tensor& beta, bool training, double momentum, double eps) {
  check_channels("batch_norm", input, gamma, beta);
  check_channels("batch_norm", input, running_mean, running_var);
  const std::int64_t N = input.size(0), C = input.size(1), S = size_from(input.shape(), 2);
  EK_CHECK(running_mean.defined() == running_var.defined() && (training || running_mean.defined()),
           "batch_norm: running_mean and running_var come together, and evaluation needs them");
  EK_CHECK(!training || N * S != 1 || C == 0,
           "batch_norm: training needs more than one value per channel, x has shape {}", input.shape().str());
  RunningStatistics running(running_mean, running_var, training);
  const Tensor x = running.apart(dense_or_lanes(input)), g = running.apart(dense(gamma)),
               b = running.apart(dense(beta));
  Tensor y = empty_like(x), mean = empty({C}, parameters_of(x)), rstd = empty({C}, parameters_of(x));
  dispatch_storage(x.dtype(), x.device(), [&]<typename T>() {
    using A = Arithmetic<T>;
    if (x.numel() == 0) return;
    const BatchNormForwardArgs<T> args{out<T>(y),
                                       out<A>(mean),
                                       out<A>(rstd),
                                       running.memory<A>(running.mean),
                                       running.memory<A>(running.var),
                                       in<T>(x),
                                       in<A>(g),
                                       in<A>(b),
                                       N,
                                       C,
                                       S,
                                       eps,
                                       momentum,
                                       training,
                                       x.format()};
    run_storage_kernel<cpu::batch_norm_forward<T>, cuda::batch_norm_forward<T>>("batch_norm_forward",
                                                                                x.device(), args);
  });
  running.store();
  record("batch_norm", y, {&input, &gamma, &beta},
         [x = Saved(x), mean = Saved(mean), rstd = Saved(rstd), g = Saved(g), N, C, S, training,
          want_x = wants_grad(input), want_gamma = wants_grad(gamma),
          want_beta = wants_grad(beta)](const Tensor& dy) {
           NormGradients d(*x, {C}, want_x, want_gamma, want_beta);
           dispatch_storage(dy.dtype(), dy.device(), [&]<typename T>() {
             using A = Arithmetic<T>;
             if (dy.numel() == 0) return;
             const BatchNormBackwardArgs<T> args{out<T>(d.dx),
                                                 out<A>(d.dgamma),
                                                 out<A>(d.dbeta),
                                                 in<T>(dy),
                                                 in<T>(*x),
                                                 in<A>(*mean),
                                                 in<A>(*rstd),
                                                 in<A>(*g),
                                                 N,
                                                 C,
                                                 S,
                                                 training,
                                                 dy.format()};
             run_storage_kernel<cpu::batch_norm_backward<T>, cuda::batch_norm_backward<T>>(
                 "batch_norm_backward", dy.device(), args);
           });
           return d.list();
         });
  return y;
}

namespace {

/// Group, layer and channel-wise layer norm differ only in kernel and sizes: their args structs have the same
/// members before `sizes...`. `stats` is the shape of mean and rstd, `parameter` that of gamma and beta.
template <typename Forward, typename Backward>
Tensor per_image_norm(const char* op, const Tensor& input, const Tensor& gamma, const Tensor& beta,
                      const Shape& stats, const Shape& parameter, Forward forward, Backward backward) {
  const Tensor x = dense_or_lanes(input), g = dense(gamma), b = dense(beta);
  Tensor y = empty_like(x), mean = empty(stats, parameters_of(x), x.format()),
         rstd = empty(stats, parameters_of(x), x.format());
  dispatch_storage(
      x.dtype(), x.device(),
      [&]<typename T>() {
        using A = Arithmetic<T>;
        if (x.numel() > 0) forward(x, out<T>(y), out<A>(mean), out<A>(rstd), in<T>(x), in<A>(g), in<A>(b));
      },
      op);
  record(op, y, {&input, &gamma, &beta},
         [x = Saved(x), mean = Saved(mean), rstd = Saved(rstd), g = Saved(g), parameter, backward,
          want_x = wants_grad(input), want_gamma = wants_grad(gamma),
          want_beta = wants_grad(beta)](const Tensor& dy) {
           NormGradients d(*x, parameter, want_x, want_gamma, want_beta);
           dispatch_storage(dy.dtype(), dy.device(), [&]<typename T>() {
             using A = Arithmetic<T>;
             if (dy.numel() == 0) return;
             backward(dy, out<T>(d.dx), out<A>(d.dgamma), out<A>(d.dbeta), in<T>(dy), in<T>(*x), in<A>(*mean),
                      in<A>(*rstd), in<A>(*g));
           });
           return d.list();
         });
  return y;
}

}  // namespace

Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& gamma, const Tensor& beta, double eps,
                  bool relu_first) {
  if (relu_first && x.format() != MemoryFormat::lanes) return group_norm(relu(x), groups, gamma, beta, eps);
  check_channels("group_norm", x, gamma, beta);
  const std::int64_t N = x.size(0), C = x.size(1), S = size_from(x.shape(), 2);
  EK_CHECK(groups >= 1 && C % groups == 0, "group_norm: {} groups do not divide the {} channels of x {}",
           groups, C, x.shape().str());
  return per_image_norm(
      "group_norm", x, gamma, beta, {N, groups}, {C},
      [=]<typename T>(const Tensor& like, T* y, Arithmetic<T>* mean, Arithmetic<T>* rstd, const T* data,
                      const Arithmetic<T>* g, const Arithmetic<T>* b) {
        const GroupNormForwardArgs<T> args{y, mean,   rstd, data,          g,         b, N, C,
                                           S, groups, eps,  like.format(), relu_first};
        run_storage_kernel<cpu::group_norm_forward<T>, cuda::group_norm_forward<T>>("group_norm_forward",
                                                                                    like.device(), args);
      },
      [=]<typename T>(const Tensor& like, T* dx, Arithmetic<T>* dgamma, Arithmetic<T>* dbeta, const T* dy,
                      const T* data, const Arithmetic<T>* mean, const Arithmetic<T>* rstd,
                      const Arithmetic<T>* g) {
        const GroupNormBackwardArgs<T> args{dx, dgamma, dbeta, dy, data,   mean,          rstd,
                                            g,  N,      C,     S,  groups, like.format(), relu_first};
        run_storage_kernel<cpu::group_norm_backward<T>, cuda::group_norm_backward<T>>("group_norm_backward",
                                                                                      like.device(), args);
      });
}

Tensor layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& gamma, const Tensor& beta,
                  double eps, bool relu_first) {
  check_parameters("layer_norm", x, {}, {&gamma, &beta});
  const int kept = x.rank() - normalized_shape.rank();
  EK_CHECK(kept >= 0 && normalized_shape.rank() >= 1 &&
               std::equal(normalized_shape.begin(), normalized_shape.end(), x.shape().begin() + kept),
           "layer_norm: x of shape {} does not end in {}", x.shape().str(), normalized_shape.str());
  for (const Tensor* p : {&gamma, &beta}) {
    EK_CHECK(!p->defined() || p->shape() == normalized_shape,
             "layer_norm: a parameter of shape {} does not fit {}", p->shape().str(), normalized_shape.str());
  }
  const std::int64_t D = normalized_shape.numel(), M = D > 0 ? x.numel() / D : 0, N = x.size(0);
  const bool by_image = kept > 0 && N > 0;  // no row has elements of two images
  if (relu_first && !(by_image && x.format() == MemoryFormat::lanes))
    return layer_norm(relu(x), normalized_shape, gamma, beta, eps);
  return per_image_norm(
      "layer_norm", by_image ? x : x.contiguous(), gamma, beta, by_image ? Shape{N, M / N} : Shape{M},
      normalized_shape,
      [=]<typename T>(const Tensor& like, T* y, Arithmetic<T>* mean, Arithmetic<T>* rstd, const T* data,
                      const Arithmetic<T>* g, const Arithmetic<T>* b) {
        const LayerNormForwardArgs<T> args{y, mean, rstd, data,          g, b,
                                           M, D,    eps,  like.format(), N, relu_first};
        run_storage_kernel<cpu::layer_norm_forward<T>, cuda::layer_norm_forward<T>>("layer_norm_forward",
                                                                                    like.device(), args);
      },
      [=]<typename T>(const Tensor& like, T* dx, Arithmetic<T>* dgamma, Arithmetic<T>* dbeta, const T* dy,
                      const T* data, const Arithmetic<T>* mean, const Arithmetic<T>* rstd,
                      const Arithmetic<T>* g) {
        const LayerNormBackwardArgs<T> args{dx, dgamma, dbeta,         dy, data,      mean, rstd, g,
                                            M,  D,      like.format(), N,  relu_first};
        run_storage_kernel<cpu::layer_norm_backward<T>, cuda::layer_norm_backward<T>>("layer_norm_backward",
                                                                                      like.device(), args);
      });
}

Tensor layer_norm2d(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps) {
  check_channels("layer_norm2d", x, gamma, beta);
  const std::int64_t N = x.size(0), C = x.size(1), S = size_from(x.shape(), 2);
  return per_image_norm(
      "layer_norm2d", x, gamma, beta, {N, S}, {C},
      [=]<typename T>(const Tensor& like, T* y, Arithmetic<T>* mean, Arithmetic<T>* rstd, const T* data,
                      const Arithmetic<T>* g, const Arithmetic<T>* b) {
        const LayerNorm2dForwardArgs<T> args{y, mean, rstd, data, g, b, N, C, S, eps, like.format()};
        run_storage_kernel<cpu::layer_norm2d_forward<T>, cuda::layer_norm2d_forward<T>>(
            "layer_norm2d_forward", like.device(), args);
      },
      [=]<typename T>(const Tensor& like, T* dx, Arithmetic<T>* dgamma, Arithmetic<T>* dbeta, const T* dy,
                      const T* data, const Arithmetic<T>* mean, const Arithmetic<T>* rstd,
                      const Arithmetic<T>* g) {
        const LayerNorm2dBackwardArgs<T> args{dx,   dgamma, dbeta, dy, data, mean,
                                              rstd, g,      N,     C,  S,    like.format()};
        run_storage_kernel<cpu::layer_norm2d_backward<T>, cuda::layer_norm2d_backward<T>>(
            "layer_norm2d_backward", like.device(), args);
      });
}

}  // namespace evenkeel
