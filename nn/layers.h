// The layers, with PyTorch's names, defaults and initialisation (drawn from default_generator(), unless
// another generator is given). The gamma and beta of a normalization are undefined if it is not affine; in
// state dicts they are "weight" and "bias".
#pragma once

#include "evenkeel/nn/functional.h"
#include "evenkeel/nn/module.h"

namespace evenkeel::nn {

struct Conv2dOptions {
  Size2d stride = 1, padding = 0, dilation = 1;
  std::int64_t groups = 1;
  bool bias = true;
  Generator* generator = nullptr;  ///< of the initial values; null: default_generator()
};

/// weight [out, in/groups, kH, kW] and bias [out], both U(-b, b) with b = 1/sqrt(fan_in).
class Conv2d : public Module {
 public:
  Conv2d(std::int64_t in_channels, std::int64_t out_channels, Size2d kernel, Conv2dOptions options = {});
  Tensor forward(const Tensor& x) override;
  const Tensor& weight() const { return weight_; }
  const Tensor& bias() const { return bias_; }  ///< undefined without one
  const ConvOptions& options() const { return options_; }

 private:
  Tensor weight_, bias_;
  ConvOptions options_;
};

/// weight [out, in] and bias [out], both U(-b, b) with b = 1/sqrt(in), from `generator`; null:
/// default_generator().
class Linear : public Module {
 public:
  Linear(std::int64_t in_features, std::int64_t out_features, bool bias = true,
         Generator* generator = nullptr);
  Tensor forward(const Tensor& x) override;

 private:
  Tensor weight_, bias_;
};

struct BatchNormOptions {
  double eps = kNormEps;
  double momentum = kBatchNormMomentum;
  bool affine = true;
  bool track_running_stats = true;
};

/// Batch norm over all axes but the second. weight 1, bias 0, running_mean 0, running_var 1,
/// num_batches_tracked 0.
class BatchNorm2d : public Module {
 public:
  explicit BatchNorm2d(std::int64_t channels, BatchNormOptions options = {});
  Tensor forward(const Tensor& x) override;
  const Tensor& gamma() const { return gamma_; }
  const Tensor& beta() const { return beta_; }
  // Undefined unless options().track_running_stats.
  const Tensor& running_mean() const { return running_mean_; }
  const Tensor& running_var() const { return running_var_; }
  const Tensor& num_batches_tracked() const { return num_batches_tracked_; }
  const BatchNormOptions& options() const { return options_; }
  /// True if a batch is normalised by its own statistics, false if by the running ones.
  bool uses_batch_statistics() const { return training() || !options_.track_running_stats; }

 private:
  Tensor gamma_, beta_, running_mean_, running_var_, num_batches_tracked_;
  BatchNormOptions options_;
};

struct NormOptions {
  double eps = kNormEps;
  bool affine = true;
};

/// Throws Error unless groups divides channels.
class GroupNorm : public Module {
 public:
  GroupNorm(std::int64_t groups, std::int64_t channels, NormOptions options = {});
  Tensor forward(const Tensor& x) override;
  const Tensor& gamma() const { return gamma_; }
  const Tensor& beta() const { return beta_; }
  std::int64_t groups() const { return groups_; }
  double eps() const { return eps_; }

 private:
  Tensor gamma_, beta_;
  std::int64_t groups_;
  double eps_;
};

struct InstanceNormOptions {
  double eps = kNormEps;
  bool affine = false;
};

/// Instance norm (Ulyanov, Vedaldi and Lempitsky, 2016) of x [N, C, H, W]: group norm with a group a channel.
/// It keeps no running statistics. forward throws Error unless x has `channels` channels.
class InstanceNorm2d : public Module {
 public:
  explicit InstanceNorm2d(std::int64_t channels, InstanceNormOptions options = {});
  Tensor forward(const Tensor& x) override;
  const Tensor& gamma() const { return gamma_; }
  const Tensor& beta() const { return beta_; }
  std::int64_t channels() const { return channels_; }
  double eps() const { return eps_; }

 private:
  Tensor gamma_, beta_;
  std::int64_t channels_;
  double eps_;
};

/// Layer norm over the last axes, of shape `normalized_shape`.
class LayerNorm : public Module {
 public:
  explicit LayerNorm(Shape normalized_shape, NormOptions options = {});
  Tensor forward(const Tensor& x) override;
  const Tensor& gamma() const { return gamma_; }
  const Tensor& beta() const { return beta_; }
  const Shape& normalized_shape() const { return normalized_shape_; }
  double eps() const { return eps_; }

 private:
  Tensor gamma_, beta_;
  Shape normalized_shape_;
  double eps_;
};

struct RMSNormOptions {
  std::optional<double> eps = {};  ///< by default the machine epsilon of x
  bool affine = true;              ///< gamma; there is no beta
};

/// RMS norm over the last axes, of shape `normalized_shape`.
class RMSNorm : public Module {
 public:
  explicit RMSNorm(Shape normalized_shape, RMSNormOptions options = {})
      : normalized_shape_(normalized_shape), eps_(options.eps) {
    EK_CHECK(normalized_shape.rank() >= 1 && normalized_shape.numel() >= 1,
             "RMSNorm: {} is no shape to normalise over", normalized_shape.str());
    if (options.affine) gamma_ = register_parameter("weight", ones(normalized_shape));
  }
  Tensor forward(const Tensor& x) override { return rms_norm(x, normalized_shape_, gamma_, eps_); }
  const Tensor& gamma() const { return gamma_; }
  const Shape& normalized_shape() const { return normalized_shape_; }

 private:
  Tensor gamma_;
  Shape normalized_shape_;
  std::optional<double> eps_;
};

/// Layer norm over the channels at each pixel.
class LayerNorm2d : public Module {
 public:
  explicit LayerNorm2d(std::int64_t channels, NormOptions options = {});
  Tensor forward(const Tensor& x) override;
  const Tensor& gamma() const { return gamma_; }
  const Tensor& beta() const { return beta_; }
  double eps() const { return eps_; }

 private:
  Tensor gamma_, beta_;
  double eps_;
};

class ReLU : public Module {
 public:
  Tensor forward(const Tensor& x) override { return relu(x); }
};

class Identity : public Module {
 public:
  Tensor forward(const Tensor& x) override { return x; }
};

class MaxPool2d : public Module {
 public:
  explicit MaxPool2d(Size2d kernel, PoolOptions options = {}) : kernel_(kernel), options_(options) {}
  Tensor forward(const Tensor& x) override { return max_pool2d(x, kernel_, options_); }
  Size2d kernel() const { return kernel_; }
  const PoolOptions& options() const { return options_; }

 private:
  Size2d kernel_;
  PoolOptions options_;
};

class AvgPool2d : public Module {
 public:
  explicit AvgPool2d(Size2d kernel, PoolOptions options = {}) : kernel_(kernel), options_(options) {}
  Tensor forward(const Tensor& x) override { return avg_pool2d(x, kernel_, options_); }
  Size2d kernel() const { return kernel_; }
  const PoolOptions& options() const { return options_; }

 private:
  Size2d kernel_;
  PoolOptions options_;
};

/// [N, C, H, W] -> [N, C]: the mean of each plane.
class GlobalAvgPool2d : public Module {
 public:
  Tensor forward(const Tensor& x) override;
};

/// [N, ...] -> [N, the rest].
class Flatten : public Module {
 public:
  Tensor forward(const Tensor& x) override;
};

/// Active in training mode only. Throws Error unless 0 <= p < 1.
class Dropout : public Module {
 public:
  explicit Dropout(double p = 0.5);
  Tensor forward(const Tensor& x) override;
  double p() const { return p_; }
  /// False if forward() returns x as it is.
  bool is_active() const { return training() && p_ > 0; }
  /// The key of the next mask.
  RandomKey draw_key() const;

 private:
  double p_;
};

class LogSoftmax : public Module {
 public:
  explicit LogSoftmax(int axis = -1) : axis_(axis) {}
  Tensor forward(const Tensor& x) override { return log_softmax(x, axis_); }

 private:
  int axis_;
};

}  // namespace evenkeel::nn
