#include "nn/functional.h"

#include "core/autograd.h"
#include "kernels/batch_norm.h"
#include "kernels/conv2d.h"
#include "kernels/dropout.h"
#include "kernels/group_norm.h"
#include "kernels/layer_norm.h"
#include "kernels/layer_norm2d.h"
#include "kernels/pool2d.h"
#include "kernels/relu.h"
#include "kernels/rotate.h"
#include "kernels/softmax.h"

namespace evenkeel {
namespace {

using autograd::record;
using autograd::Saved;

/// Makes undefined an output that nobody wants.
Tensor empty_if(bool wanted, const Shape& shape, TensorOptions options) {
  return wanted ? empty(shape, options) : Tensor();
}

template <typename T>
const T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}
template <typename T>
T* mutable_data_or_null(Tensor& x) {
  return x.defined() ? x.mutable_data<T>() : nullptr;
}

bool wants_grad(const Tensor& x) { return x.defined() && x.requires_grad(); }

/// The product of the sizes of axes first, first+1, ...
std::int64_t size_from(const Shape& shape, int first) {
  std::int64_t n = 1;
  for (int d = first; d < shape.rank(); ++d) n *= shape[d];
  return n;
}

/// The detached, dense form in which kernels read an optional tensor.
Tensor dense(const Tensor& x) { return x.defined() ? x.detach().contiguous() : Tensor(); }

/// x [N, C, ...], and affine parameters that are undefined or [C].
void check_channels(const char* op, const Tensor& x, const Tensor& gamma, const Tensor& beta) {
  check_same_kind(op, {&x, &gamma, &beta});
  EK_CHECK(x.rank() >= 2, "{}: x has shape {}, it needs a batch and a channel axis", op, x.shape().str());
  for (const Tensor* p : {&gamma, &beta}) {
    EK_CHECK(!p->defined() || p->shape() == Shape{x.size(1)},
             "{}: a parameter of shape {} does not fit x of shape {}", op, p->shape().str(), x.shape().str());
  }
}

/// Throws unless all of `index` is in [0, limit). Skipped on a GPU, where reading it would wait for the
/// device.
void check_range(const char* op, const Tensor& index, std::int64_t limit) {
  if (!index.device().is_cpu()) return;
  const std::int64_t* value = index.data<std::int64_t>();
  for (std::int64_t i = 0; i < index.numel(); ++i) {
    EK_CHECK(value[i] >= 0 && value[i] < limit, "{}: index {} at position {} is out of range [0, {})", op,
             value[i], i, limit);
  }
}

/// The gradients of a normalization: dx, dgamma and dbeta, each only where wanted.
struct NormGradients {
  Tensor dx, dgamma, dbeta;
  NormGradients(const Tensor& x, const Shape& parameter, bool want_x, bool want_gamma, bool want_beta)
      : dx(empty_if(want_x, x.shape(), x.options())),
        dgamma(empty_if(want_gamma, parameter, x.options())),
        dbeta(empty_if(want_beta, parameter, x.options())) {}
  std::vector<Tensor> list() const { return {dx, dgamma, dbeta}; }
};

}  // namespace

// --- convolution and linear
// ----------------------------------------------------------------------------------------

namespace {

Conv2dSizes conv2d_sizes(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& o) {
  check_same_kind("conv2d", {&x, &weight, &bias});
  EK_CHECK(x.rank() == 4 && weight.rank() == 4, "conv2d: x has shape {} and weight {}, both need 4 axes",
           x.shape().str(), weight.shape().str());
  EK_CHECK(o.stride.h >= 1 && o.stride.w >= 1 && o.dilation.h >= 1 && o.dilation.w >= 1 && o.padding.h >= 0 &&
               o.padding.w >= 0 && o.groups >= 1,
           "conv2d: stride ({}, {}), dilation ({}, {}) and groups {} must be at least 1, padding ({}, {}) at "
           "least 0",
           o.stride.h, o.stride.w, o.dilation.h, o.dilation.w, o.groups, o.padding.h, o.padding.w);
  EK_CHECK(weight.size(0) % o.groups == 0 && x.size(1) == weight.size(1) * o.groups,
           "conv2d: x of shape {} and weight of shape {} do not fit {} groups", x.shape().str(),
           weight.shape().str(), o.groups);
  EK_CHECK(!bias.defined() || bias.shape() == Shape{weight.size(0)},
           "conv2d: bias of shape {} does not fit weight {}", bias.shape().str(), weight.shape().str());
  Conv2dSizes s{.N = x.size(0),
                .C = x.size(1),
                .H = x.size(2),
                .W = x.size(3),
                .K = weight.size(0),
                .R = weight.size(2),
                .S = weight.size(3),
                .P = 0,
                .Q = 0,
                .stride_h = o.stride.h,
                .stride_w = o.stride.w,
                .pad_h = o.padding.h,
                .pad_w = o.padding.w,
                .dilation_h = o.dilation.h,
                .dilation_w = o.dilation.w,
                .groups = o.groups};
  const std::int64_t room_h = s.H + 2 * s.pad_h - s.dilation_h * (s.R - 1) - 1;
  const std::int64_t room_w = s.W + 2 * s.pad_w - s.dilation_w * (s.S - 1) - 1;
  EK_CHECK(room_h >= 0 && room_w >= 0 && s.R >= 1 && s.S >= 1,
           "conv2d: the kernel of weight {} is larger than the padded input {}", weight.shape().str(),
           x.shape().str());
  s.P = room_h / s.stride_h + 1;
  s.Q = room_w / s.stride_w + 1;
  return s;
}

std::vector<Tensor> conv2d_backward(const Tensor& dy, const Tensor& x, const Tensor& weight,
                                    const Conv2dSizes& sizes, bool want_x, bool want_weight, bool want_bias) {
  Tensor dx = empty_if(want_x, x.shape(), x.options());
  Tensor dweight = empty_if(want_weight || want_bias, weight.shape(), x.options());
  Tensor dbias = empty_if(want_bias, {sizes.K}, x.options());
  dispatch_floating(x.dtype(), [&]<typename T>() {
    if (want_x) {
      const Conv2dBackwardInputArgs<T> args{dx.mutable_data<T>(), dy.data<T>(), weight.data<T>(), sizes};
      EK_DISPATCH(x.device(), conv2d_backward_input, args);
    }
    if (want_weight || want_bias) {
      const Conv2dBackwardWeightArgs<T> args{dweight.mutable_data<T>(), mutable_data_or_null<T>(dbias),
                                             dy.data<T>(), x.data<T>(), sizes};
      EK_DISPATCH(x.device(), conv2d_backward_weight, args);
    }
  });
  return {dx, dweight, dbias};
}

}  // namespace

Tensor conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias, ConvOptions options) {
  const Conv2dSizes sizes = conv2d_sizes(input, weight, bias, options);
  const Tensor x = dense(input), w = dense(weight), b = dense(bias);
  Tensor y = empty({sizes.N, sizes.K, sizes.P, sizes.Q}, x.options());
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const Conv2dForwardArgs<T> args{y.mutable_data<T>(), x.data<T>(), w.data<T>(), data_or_null<T>(b), sizes};
    EK_DISPATCH(x.device(), conv2d_forward, args);
  });
  record("conv2d", y, {&input, &weight, &bias},
         [x = Saved(x), w = Saved(w), sizes, want_x = wants_grad(input), want_w = wants_grad(weight),
          want_b = wants_grad(bias)](const Tensor& dy) {
           return conv2d_backward(dy, *x, *w, sizes, want_x, want_w, want_b);
         });
  return y;
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_same_kind("linear", {&x, &weight, &bias});
  EK_CHECK(x.rank() >= 1 && weight.rank() == 2 && x.size(-1) == weight.size(1),
           "linear: x of shape {} does not fit weight of shape {} = [out, in]", x.shape().str(),
           weight.shape().str());
  EK_CHECK(!bias.defined() || bias.shape() == Shape{weight.size(0)},
           "linear: bias of shape {} does not fit weight {}", bias.shape().str(), weight.shape().str());
  Shape shape = x.shape();
  shape[x.rank() - 1] = weight.size(0);
  const Tensor rows = x.reshape({x.numel() / std::max<std::int64_t>(x.size(-1), 1), x.size(-1)});
  const Tensor y = matmul(rows, weight.transpose(0, 1));
  return (bias.defined() ? y + bias : y).reshape(shape);
}

// --- normalization
// -------------------------------------------------------------------------------------------------

Tensor batch_norm(const Tensor& input, Tensor running_mean, Tensor running_var, const Tensor& gamma,
                  const Tensor& beta, bool training, double momentum, double eps) {
  check_channels("batch_norm", input, gamma, beta);
  check_channels("batch_norm", input, running_mean, running_var);
  const std::int64_t N = input.size(0), C = input.size(1), S = size_from(input.shape(), 2);
  EK_CHECK(running_mean.defined() == running_var.defined() && (training || running_mean.defined()),
           "batch_norm: running_mean and running_var come together, and evaluation needs them");
  EK_CHECK(!training || N * S > 1,
           "batch_norm: training needs more than one value per channel, x has shape {}", input.shape().str());
  const Tensor x = dense(input), g = dense(gamma), b = dense(beta);
  Tensor y = empty(x.shape(), x.options()), mean = empty({C}, x.options()), rstd = empty({C}, x.options());
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const BatchNormForwardArgs<T> args{y.mutable_data<T>(),
                                       mean.mutable_data<T>(),
                                       rstd.mutable_data<T>(),
                                       mutable_data_or_null<T>(running_mean),
                                       mutable_data_or_null<T>(running_var),
                                       x.data<T>(),
                                       data_or_null<T>(g),
                                       data_or_null<T>(b),
                                       N,
                                       C,
                                       S,
                                       eps,
                                       momentum,
                                       training};
    EK_DISPATCH(x.device(), batch_norm_forward, args);
  });
  record("batch_norm", y, {&input, &gamma, &beta},
         [x = Saved(x), mean = Saved(mean), rstd = Saved(rstd), g = Saved(g), N, C, S, training,
          want_x = wants_grad(input), want_gamma = wants_grad(gamma),
          want_beta = wants_grad(beta)](const Tensor& dy) {
           NormGradients out(*x, {C}, want_x, want_gamma, want_beta);
           dispatch_floating(dy.dtype(), [&]<typename T>() {
             const BatchNormBackwardArgs<T> args{mutable_data_or_null<T>(out.dx),
                                                 mutable_data_or_null<T>(out.dgamma),
                                                 mutable_data_or_null<T>(out.dbeta),
                                                 dy.data<T>(),
                                                 x.get().data<T>(),
                                                 mean.get().data<T>(),
                                                 rstd.get().data<T>(),
                                                 data_or_null<T>(*g),
                                                 N,
                                                 C,
                                                 S,
                                                 training};
             EK_DISPATCH(dy.device(), batch_norm_backward, args);
           });
           return out.list();
         });
  return y;
}

namespace {

/// Group, layer and channel-wise layer norm differ only in kernel and sizes: their args structs have the same
/// members before `sizes...`. `stats` is the shape of mean and rstd, `parameter` that of gamma and beta.
template <typename Forward, typename Backward>
Tensor per_image_norm(const char* op, const Tensor& input, const Tensor& gamma, const Tensor& beta,
                      const Shape& stats, const Shape& parameter, Forward forward, Backward backward) {
  const Tensor x = dense(input), g = dense(gamma), b = dense(beta);
  Tensor y = empty(x.shape(), x.options()), mean = empty(stats, x.options()),
         rstd = empty(stats, x.options());
  dispatch_floating(x.dtype(), [&]<typename T>() {
    forward(x.device(), y.mutable_data<T>(), mean.mutable_data<T>(), rstd.mutable_data<T>(), x.data<T>(),
            data_or_null<T>(g), data_or_null<T>(b));
  });
  record(op, y, {&input, &gamma, &beta},
         [x = Saved(x), mean = Saved(mean), rstd = Saved(rstd), g = Saved(g), parameter, backward,
          want_x = wants_grad(input), want_gamma = wants_grad(gamma),
          want_beta = wants_grad(beta)](const Tensor& dy) {
           NormGradients out(*x, parameter, want_x, want_gamma, want_beta);
           dispatch_floating(dy.dtype(), [&]<typename T>() {
             backward(dy.device(), mutable_data_or_null<T>(out.dx), mutable_data_or_null<T>(out.dgamma),
                      mutable_data_or_null<T>(out.dbeta), dy.data<T>(), x.get().data<T>(),
                      mean.get().data<T>(), rstd.get().data<T>(), data_or_null<T>(*g));
           });
           return out.list();
         });
  return y;
}

}  // namespace

Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& gamma, const Tensor& beta, double eps) {
  check_channels("group_norm", x, gamma, beta);
  const std::int64_t N = x.size(0), C = x.size(1), S = size_from(x.shape(), 2);
  EK_CHECK(groups >= 1 && C % groups == 0, "group_norm: {} groups do not divide the {} channels of x {}",
           groups, C, x.shape().str());
  return per_image_norm(
      "group_norm", x, gamma, beta, {N, groups}, {C},
      [=]<typename T>(Device device, T* y, T* mean, T* rstd, const T* in, const T* g, const T* b) {
        const GroupNormForwardArgs<T> args{y, mean, rstd, in, g, b, N, C, S, groups, eps};
        EK_DISPATCH(device, group_norm_forward, args);
      },
      [=]<typename T>(Device device, T* dx, T* dgamma, T* dbeta, const T* dy, const T* in, const T* mean,
                      const T* rstd, const T* g) {
        const GroupNormBackwardArgs<T> args{dx, dgamma, dbeta, dy, in, mean, rstd, g, N, C, S, groups};
        EK_DISPATCH(device, group_norm_backward, args);
      });
}

Tensor layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& gamma, const Tensor& beta,
                  double eps) {
  check_same_kind("layer_norm", {&x, &gamma, &beta});
  const int kept = x.rank() - normalized_shape.rank();
  EK_CHECK(kept >= 0 && normalized_shape.rank() >= 1 &&
               std::equal(normalized_shape.begin(), normalized_shape.end(), x.shape().begin() + kept),
           "layer_norm: x of shape {} does not end in {}", x.shape().str(), normalized_shape.str());
  for (const Tensor* p : {&gamma, &beta}) {
    EK_CHECK(!p->defined() || p->shape() == normalized_shape,
             "layer_norm: a parameter of shape {} does not fit {}", p->shape().str(), normalized_shape.str());
  }
  const std::int64_t D = normalized_shape.numel(), M = D > 0 ? x.numel() / D : 0;
  return per_image_norm(
      "layer_norm", x, gamma, beta, {M}, normalized_shape,
      [=]<typename T>(Device device, T* y, T* mean, T* rstd, const T* in, const T* g, const T* b) {
        const LayerNormForwardArgs<T> args{y, mean, rstd, in, g, b, M, D, eps};
        EK_DISPATCH(device, layer_norm_forward, args);
      },
      [=]<typename T>(Device device, T* dx, T* dgamma, T* dbeta, const T* dy, const T* in, const T* mean,
                      const T* rstd, const T* g) {
        const LayerNormBackwardArgs<T> args{dx, dgamma, dbeta, dy, in, mean, rstd, g, M, D};
        EK_DISPATCH(device, layer_norm_backward, args);
      });
}

Tensor layer_norm2d(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps) {
  check_channels("layer_norm2d", x, gamma, beta);
  const std::int64_t N = x.size(0), C = x.size(1), S = size_from(x.shape(), 2);
  return per_image_norm(
      "layer_norm2d", x, gamma, beta, {N, S}, {C},
      [=]<typename T>(Device device, T* y, T* mean, T* rstd, const T* in, const T* g, const T* b) {
        const LayerNorm2dForwardArgs<T> args{y, mean, rstd, in, g, b, N, C, S, eps};
        EK_DISPATCH(device, layer_norm2d_forward, args);
      },
      [=]<typename T>(Device device, T* dx, T* dgamma, T* dbeta, const T* dy, const T* in, const T* mean,
                      const T* rstd, const T* g) {
        const LayerNorm2dBackwardArgs<T> args{dx, dgamma, dbeta, dy, in, mean, rstd, g, N, C, S};
        EK_DISPATCH(device, layer_norm2d_backward, args);
      });
}

// --- activation, pooling, dropout
// ------------------------------------------------------------------------------------

Tensor relu(const Tensor& input) {
  const Tensor x = dense(input);
  Tensor y = empty(x.shape(), x.options());
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const ReluForwardArgs<T> args{y.mutable_data<T>(), x.data<T>(), x.numel()};
    EK_DISPATCH(x.device(), relu_forward, args);
  });
  record("relu", y, {&input}, [y = Saved(y)](const Tensor& dy) {
    Tensor dx = empty(dy.shape(), dy.options());
    dispatch_floating(dy.dtype(), [&]<typename T>() {
      const ReluBackwardArgs<T> args{dx.mutable_data<T>(), dy.data<T>(), y.get().data<T>(), dy.numel()};
      EK_DISPATCH(dy.device(), relu_backward, args);
    });
    return std::vector{dx};
  });
  return y;
}

namespace {

/// The sizes of a pooling, and in `shape` that of its output.
Pool2dSizes pool2d_sizes(const char* op, const Tensor& x, Size2d kernel, PoolOptions o, Shape& shape) {
  EK_CHECK(x.rank() == 3 || x.rank() == 4, "{}: x has shape {}, it needs 3 or 4 axes", op, x.shape().str());
  if (o.stride == Size2d(0)) o.stride = kernel;
  EK_CHECK(kernel.h >= 1 && kernel.w >= 1 && o.stride.h >= 1 && o.stride.w >= 1,
           "{}: kernel ({}, {}) and stride ({}, {}) must be at least 1", op, kernel.h, kernel.w, o.stride.h,
           o.stride.w);
  EK_CHECK(o.padding.h >= 0 && o.padding.w >= 0 && 2 * o.padding.h <= kernel.h && 2 * o.padding.w <= kernel.w,
           "{}: padding ({}, {}) must be between 0 and half the kernel ({}, {})", op, o.padding.h,
           o.padding.w, kernel.h, kernel.w);
  const std::int64_t H = x.size(-2), W = x.size(-1);
  const std::int64_t room_h = H + 2 * o.padding.h - kernel.h, room_w = W + 2 * o.padding.w - kernel.w;
  EK_CHECK(room_h >= 0 && room_w >= 0, "{}: the kernel ({}, {}) is larger than the padded input {}", op,
           kernel.h, kernel.w, x.shape().str());
  shape = x.shape();
  const std::int64_t P = shape[x.rank() - 2] = room_h / o.stride.h + 1;
  const std::int64_t Q = shape[x.rank() - 1] = room_w / o.stride.w + 1;
  const std::int64_t planes = x.rank() == 4 ? x.size(0) * x.size(1) : x.size(0);
  return {planes, H, W, kernel.h, kernel.w, P, Q, o.stride.h, o.stride.w, o.padding.h, o.padding.w};
}

}  // namespace

Tensor max_pool2d(const Tensor& input, Size2d kernel, PoolOptions options) {
  Shape shape;
  const Pool2dSizes sizes = pool2d_sizes("max_pool2d", input, kernel, options, shape);
  const Tensor x = dense(input);
  Tensor y = empty(shape, x.options()), index = empty(shape, {DType::i64, x.device()});
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const MaxPool2dForwardArgs<T> args{y.mutable_data<T>(), index.mutable_data<std::int64_t>(), x.data<T>(),
                                       sizes};
    EK_DISPATCH(x.device(), max_pool2d_forward, args);
  });
  record("max_pool2d", y, {&input}, [index = Saved(index), shape = x.shape(), sizes](const Tensor& dy) {
    Tensor dx = empty(shape, dy.options());
    dispatch_floating(dy.dtype(), [&]<typename T>() {
      const MaxPool2dBackwardArgs<T> args{dx.mutable_data<T>(), dy.data<T>(),
                                          index.get().data<std::int64_t>(), sizes};
      EK_DISPATCH(dy.device(), max_pool2d_backward, args);
    });
    return std::vector{dx};
  });
  return y;
}

Tensor avg_pool2d(const Tensor& input, Size2d kernel, PoolOptions options) {
  Shape shape;
  const Pool2dSizes sizes = pool2d_sizes("avg_pool2d", input, kernel, options, shape);
  const Tensor x = dense(input);
  Tensor y = empty(shape, x.options());
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const AvgPool2dForwardArgs<T> args{y.mutable_data<T>(), x.data<T>(), sizes};
    EK_DISPATCH(x.device(), avg_pool2d_forward, args);
  });
  record("avg_pool2d", y, {&input}, [shape = x.shape(), sizes](const Tensor& dy) {
    Tensor dx = empty(shape, dy.options());
    dispatch_floating(dy.dtype(), [&]<typename T>() {
      const AvgPool2dBackwardArgs<T> args{dx.mutable_data<T>(), dy.data<T>(), sizes};
      EK_DISPATCH(dy.device(), avg_pool2d_backward, args);
    });
    return std::vector{dx};
  });
  return y;
}

Tensor global_avg_pool2d(const Tensor& x) {
  EK_CHECK(x.rank() == 4, "global_avg_pool2d: x has shape {}, it needs 4 axes", x.shape().str());
  return avg_pool2d(x, {x.size(2), x.size(3)});
}

namespace {

/// y = x masked and scaled: forward, and on dy backward.
Tensor apply_dropout(const Tensor& x, double p, RandomKey key) {
  Tensor y = empty(x.shape(), x.options());
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const DropoutArgs<T> args{y.mutable_data<T>(), x.data<T>(), key, p, x.numel()};
    EK_DISPATCH(x.device(), dropout, args);
  });
  return y;
}

}  // namespace

Tensor dropout(const Tensor& x, double p, RandomKey key) {
  EK_CHECK(p >= 0 && p < 1, "dropout: p is {}, it must be at least 0 and below 1", p);
  EK_CHECK(key.stream >> 32 == 0, "dropout: stream {} is past 2^32", key.stream);
  Tensor y = apply_dropout(dense(x), p, key);
  record("dropout", y, {&x}, [p, key](const Tensor& dy) { return std::vector{apply_dropout(dy, p, key)}; });
  return y;
}

// --- loss
// ------------------------------------------------------------------------------------------------------------

Tensor log_softmax(const Tensor& input, int axis) {
  axis = normalize_axis("log_softmax", axis, input.rank());
  const int last = input.rank() - 1;
  if (axis != last) return log_softmax(input.transpose(axis, last)).transpose(axis, last);
  const Tensor x = dense(input);
  const std::int64_t D = x.size(-1), M = D > 0 ? x.numel() / D : 0;
  Tensor y = empty(x.shape(), x.options());
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const LogSoftmaxForwardArgs<T> args{y.mutable_data<T>(), x.data<T>(), M, D};
    EK_DISPATCH(x.device(), log_softmax_forward, args);
  });
  record("log_softmax", y, {&input}, [y = Saved(y), M, D](const Tensor& dy) {
    Tensor dx = empty(dy.shape(), dy.options());
    dispatch_floating(dy.dtype(), [&]<typename T>() {
      const LogSoftmaxBackwardArgs<T> args{dx.mutable_data<T>(), dy.data<T>(), y.get().data<T>(), M, D};
      EK_DISPATCH(dy.device(), log_softmax_backward, args);
    });
    return std::vector{dx};
  });
  return y;
}

namespace {

/// The loss of each row, [N].
Tensor nll_loss_per_row(const Tensor& log_probs, const Tensor& target) {
  const Tensor x = dense(log_probs), labels = dense(target);
  const std::int64_t M = x.size(0), D = x.size(1);
  check_range("nll_loss", labels, D);
  Tensor loss = empty({M}, x.options());
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const NllLossForwardArgs<T> args{loss.mutable_data<T>(), x.data<T>(), labels.data<std::int64_t>(), M, D};
    EK_DISPATCH(x.device(), nll_loss_forward, args);
  });
  record("nll_loss", loss, {&log_probs}, [labels = Saved(labels), M, D](const Tensor& dloss) {
    Tensor dx = empty({M, D}, dloss.options());
    dispatch_floating(dloss.dtype(), [&]<typename T>() {
      const NllLossBackwardArgs<T> args{dx.mutable_data<T>(), dloss.data<T>(),
                                        labels.get().data<std::int64_t>(), M, D};
      EK_DISPATCH(dloss.device(), nll_loss_backward, args);
    });
    return std::vector{dx};
  });
  return loss;
}

}  // namespace

Tensor nll_loss(const Tensor& log_probs, const Tensor& target, Reduction reduction) {
  EK_CHECK(
      log_probs.rank() == 2 && target.shape() == Shape{log_probs.size(0)} && target.dtype() == DType::i64,
      "nll_loss: log_probs of shape {} need i64 targets of shape [N], got {} {}", log_probs.shape().str(),
      name_of(target.dtype()), target.shape().str());
  EK_CHECK(target.device() == log_probs.device(), "nll_loss: log_probs are on {}, targets on {}",
           log_probs.device().str(), target.device().str());
  const Tensor loss = nll_loss_per_row(log_probs, target);
  switch (reduction) {
    case Reduction::mean:
      return mean(loss);
    case Reduction::sum:
      return sum(loss);
    case Reduction::none:
      break;
  }
  return loss;
}

Tensor cross_entropy(const Tensor& logits, const Tensor& target, Reduction reduction) {
  return nll_loss(log_softmax(logits), target, reduction);
}

// --- data
// ------------------------------------------------------------------------------------------------------------

Tensor rotate_normalize(const Tensor& images, const Tensor& index, const Tensor& angles, double mean,
                        double std) {
  EK_CHECK(images.rank() == 3 && images.dtype() == DType::u8,
           "rotate_normalize: images are {} {}, need u8 [count, H, W]", name_of(images.dtype()),
           images.shape().str());
  EK_CHECK(index.rank() == 1 && index.dtype() == DType::i64,
           "rotate_normalize: index is {} {}, needs i64 [N]", name_of(index.dtype()), index.shape().str());
  EK_CHECK(!angles.defined() || (angles.shape() == index.shape() && angles.dtype() == DType::f32),
           "rotate_normalize: angles are {} {}, need f32 {}", name_of(angles.dtype()), angles.shape().str(),
           index.shape().str());
  const Tensor from = dense(images), which = dense(index), by = dense(angles);
  check_range("rotate_normalize", which, from.size(0));
  Tensor y = empty({which.size(0), 1, from.size(1), from.size(2)}, {DType::f32, from.device()});
  const RotateNormalizeArgs<float> args{y.mutable_data<float>(),
                                        from.data<std::uint8_t>(),
                                        which.data<std::int64_t>(),
                                        data_or_null<float>(by),
                                        which.size(0),
                                        from.size(1),
                                        from.size(2),
                                        mean,
                                        std};
  EK_DISPATCH(from.device(), rotate_normalize, args);
  return y;
}

}  // namespace evenkeel
