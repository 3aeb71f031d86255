#include "evenkeel/nn/layers.h"

#include <cmath>
#include <tuple>

#include "evenkeel/base/checked.h"

namespace evenkeel::nn {
namespace {

/// PyTorch's default for weights and biases of convolutions and linear layers: U(-b, b), b = 1/sqrt(fan_in).
Tensor initial_weights(const Shape& shape, std::int64_t fan_in, Generator* generator) {
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  Generator& random = generator != nullptr ? *generator : default_generator();
  return uniform(shape, -bound, bound, random.next(RandomPurpose::init));
}
}  // namespace

Conv2d::Conv2d(std::int64_t in_channels, std::int64_t out_channels, Size2d kernel, Conv2dOptions options)
    : options_{options.stride, options.padding, options.dilation, options.groups} {
  const std::int64_t groups = options.groups;
  EK_CHECK(in_channels >= 1 && out_channels >= 1 && kernel.h >= 1 && kernel.w >= 1 && groups >= 1 &&
               in_channels % groups == 0 && out_channels % groups == 0,
           "Conv2d: {} groups do not divide {} input and {} output channels, or the kernel ({}, {}) is empty",
           groups, in_channels, out_channels, kernel.h, kernel.w);
  const std::int64_t fan_in = checked_product("Conv2d", {in_channels / groups, kernel.h, kernel.w});
  weight_ = register_parameter(
      "weight",
      initial_weights({out_channels, in_channels / groups, kernel.h, kernel.w}, fan_in, options.generator));
  if (options.bias)
    bias_ = register_parameter("bias", initial_weights({out_channels}, fan_in, options.generator));
}

Tensor Conv2d::forward(const Tensor& x) { return conv2d(x, weight_, bias_, options_); }

Linear::Linear(std::int64_t in_features, std::int64_t out_features, bool bias, Generator* generator) {
  EK_CHECK(in_features >= 1 && out_features >= 1, "Linear: {} inputs and {} outputs; both must be at least 1",
           in_features, out_features);
  weight_ =
      register_parameter("weight", initial_weights({out_features, in_features}, in_features, generator));
  if (bias) bias_ = register_parameter("bias", initial_weights({out_features}, in_features, generator));
}

Tensor Linear::forward(const Tensor& x) { return linear(x, weight_, bias_); }

BatchNorm2d::BatchNorm2d(std::int64_t channels, BatchNormOptions options) : options_(options) {
  EK_CHECK(channels >= 1, "BatchNorm2d: {} channels; at least 1 is needed", channels);
  if (options.affine) std::tie(gamma_, beta_) = register_affine({channels});
  if (options.track_running_stats) {
    running_mean_ = register_buffer("running_mean", zeros({channels}));
    running_var_ = register_buffer("running_var", ones({channels}));
    num_batches_tracked_ = register_buffer("num_batches_tracked", zeros({}, {DType::i64}));
  }
}

Tensor BatchNorm2d::forward(const Tensor& x) {
  if (training() && options_.track_running_stats)
    num_batches_tracked_.add_(ones({}, num_batches_tracked_.options()));
  return batch_norm(x, running_mean_, running_var_, gamma_, beta_, uses_batch_statistics(), options_.momentum,
                    options_.eps);
}

GroupNorm::GroupNorm(std::int64_t groups, std::int64_t channels, NormOptions options)
    : groups_(groups), eps_(options.eps) {
  EK_CHECK(groups >= 1 && channels >= 1 && channels % groups == 0,
           "GroupNorm: {} groups do not divide {} channels", groups, channels);
  if (options.affine) std::tie(gamma_, beta_) = register_affine({channels});
}

Tensor GroupNorm::forward(const Tensor& x) { return group_norm(x, groups_, gamma_, beta_, eps_); }

InstanceNorm2d::InstanceNorm2d(std::int64_t channels, InstanceNormOptions options)
    : channels_(channels), eps_(options.eps) {
  EK_CHECK(channels >= 1, "InstanceNorm2d: {} channels; at least 1 is needed", channels);
  if (options.affine) std::tie(gamma_, beta_) = register_affine({channels});
}

Tensor InstanceNorm2d::forward(const Tensor& x) {
  EK_CHECK(x.rank() == 4 && x.size(1) == channels_,
           "InstanceNorm2d: x has shape {}, the layer needs [N, {}, H, W]", x.shape().str(), channels_);
  return group_norm(x, channels_, gamma_, beta_, eps_);
}

LayerNorm::LayerNorm(Shape normalized_shape, NormOptions options)
    : normalized_shape_(normalized_shape), eps_(options.eps) {
  EK_CHECK(normalized_shape.rank() >= 1 && normalized_shape.numel() >= 1,
           "LayerNorm: {} is no shape to normalise over", normalized_shape.str());
  if (options.affine) std::tie(gamma_, beta_) = register_affine(normalized_shape);
}

Tensor LayerNorm::forward(const Tensor& x) { return layer_norm(x, normalized_shape_, gamma_, beta_, eps_); }

LayerNorm2d::LayerNorm2d(std::int64_t channels, NormOptions options) : eps_(options.eps) {
  EK_CHECK(channels >= 1, "LayerNorm2d: {} channels; at least 1 is needed", channels);
  if (options.affine) std::tie(gamma_, beta_) = register_affine({channels});
}

Tensor LayerNorm2d::forward(const Tensor& x) { return layer_norm2d(x, gamma_, beta_, eps_); }

Tensor GlobalAvgPool2d::forward(const Tensor& x) {
  return global_avg_pool2d(x).reshape({x.size(0), x.size(1)});
}

Tensor Flatten::forward(const Tensor& x) {
  EK_CHECK(x.rank() >= 1, "Flatten: x has no axes; it needs a batch axis");
  std::int64_t features = 1;
  for (int d = 1; d < x.rank(); ++d) features *= x.size(d);
  return x.reshape({x.size(0), features});
}

Dropout::Dropout(double p) : p_(p) {
  EK_CHECK(p >= 0 && p < 1, "Dropout: p is {}, it must be at least 0 and below 1", p);
}

RandomKey Dropout::draw_key() const { return generator().next(RandomPurpose::dropout); }

Tensor Dropout::forward(const Tensor& x) { return is_active() ? dropout(x, p_, draw_key()) : x; }

}  // namespace evenkeel::nn
