// The neural-network ops: each checks its arguments, allocates, calls its kernel and records its backward.
// Shapes, defaults and formulas are PyTorch's; f32 and f64. On CUDA devices conv2d, the normalizations, relu
// and the poolings also take activations of bf16 and f16: computed in f32, rounded once, with parameters,
// their gradients and statistics in f32.
#pragma once

#include <optional>
#include <utility>

#include "evenkeel/core/ops.h"
#include "evenkeel/core/random.h"
#include "evenkeel/core/tensor.h"
#include "evenkeel/kernels/norm_partition.h"

namespace evenkeel {

/// A height and a width; one number means both.
struct Size2d {
  std::int64_t h = 0, w = 0;
  constexpr Size2d(std::int64_t both) : h(both), w(both) {}  // NOLINT: implicit on purpose
  constexpr Size2d(std::int64_t height, std::int64_t width) : h(height), w(width) {}
  friend constexpr bool operator==(Size2d, Size2d) = default;
};

struct ConvOptions {
  Size2d stride = 1, padding = 0, dilation = 1;
  std::int64_t groups = 1;
  friend constexpr bool operator==(const ConvOptions&, const ConvOptions&) = default;
};
/// x [N, C, H, W], weight [K, C/groups, R, S], bias [K] or undefined -> [N, K, P, Q]. See kernels/conv2d.h.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, ConvOptions options = {});

/// x [..., in], weight [out, in], bias [out] or undefined -> x weight^T + bias, [..., out].
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

/// x [N, C, ...] (2 to 8 axes), normalised over all axes but C. gamma, beta: [C] or undefined. running_mean
/// and running_var: [C], updated in place when training (may then be undefined), used when not; no values per
/// channel leave them alone. Throws Error when training on one value per channel.
Tensor batch_norm(const Tensor& x, Tensor running_mean, Tensor running_var, const Tensor& gamma,
                  const Tensor& beta, bool training, double momentum = kBatchNormMomentum,
                  double eps = kNormEps);

/// x [N, C, ...], normalised over groups of C/groups channels and all later axes. gamma, beta: [C] or
/// undefined.
Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& gamma = {}, const Tensor& beta = {},
                  double eps = kNormEps);

/// Normalised over the last axes, whose sizes `normalized_shape` repeats; gamma, beta: of that shape, or
/// undefined.
Tensor layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& gamma = {},
                  const Tensor& beta = {}, double eps = kNormEps);

/// Divided by the root of its mean square over the last axes, whose sizes `normalized_shape` repeats (Zhang
/// and Sennrich, 2019): y = gamma x / sqrt(mean(x^2) + eps). gamma: of that shape, or undefined. eps: by
/// default the machine epsilon of x.
Tensor rms_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& gamma = {},
                std::optional<double> eps = {});

/// x [N, C, ...], normalised over C at each pixel (ConvNeXt's LayerNorm2d). gamma, beta: [C] or undefined.
Tensor layer_norm2d(const Tensor& x, const Tensor& gamma = {}, const Tensor& beta = {},
                    double eps = kNormEps);

/// max(x, 0).
Tensor relu(const Tensor& x);

struct PoolOptions {
  Size2d stride = 0;  ///< 0: the kernel's size
  Size2d padding = 0;
};
/// x [N, C, H, W] or [C, H, W], H and W at least 1; the largest value of each window. Padding never wins.
Tensor max_pool2d(const Tensor& x, Size2d kernel, PoolOptions options = {});
/// The average of each window; padding counts as zeros (count_include_pad=True).
Tensor avg_pool2d(const Tensor& x, Size2d kernel, PoolOptions options = {});
/// x [N, C, H, W] -> [N, C, 1, 1], the mean of each plane; NaN where planes have no pixels.
Tensor global_avg_pool2d(const Tensor& x);

/// Zeroes each element with probability p and scales the rest by 1/(1-p); the mask is a function of `key`.
Tensor dropout(const Tensor& x, double p, RandomKey key);

/// log(softmax(x)) along `axis`.
Tensor log_softmax(const Tensor& x, int axis = -1);

enum class Reduction { none, mean, sum };
/// log_probs [N, classes], target i64 [N] -> -log_probs[n, target[n]], reduced; the mean of no rows is NaN,
/// their sum 0. A target outside [0, classes)
/// throws Error on the CPU and gives NaN on a GPU, which must not wait for it.
Tensor nll_loss(const Tensor& log_probs, const Tensor& target, Reduction reduction = Reduction::mean);
/// nll_loss(log_softmax(logits)).
Tensor cross_entropy(const Tensor& logits, const Tensor& target, Reduction reduction = Reduction::mean);

/// logits [N, classes], target i64 [N] -> the fraction of rows whose first largest element, or first NaN, is
/// at target[n]: f64, without axes, on their device, so that nobody waits for it; NaN for no rows. A target
/// outside [0, classes) throws Error on the CPU and counts as wrong on a GPU. Has no backward.
Tensor accuracy(const Tensor& logits, const Tensor& target);

/// Adds a batch to running totals, f64 [2] where log_probs [N, classes] are, without waiting for them: N
/// mean_loss and the number of rows whose largest element is at target [N].
void add_classification_totals(Tensor& totals, const Tensor& log_probs, const Tensor& target,
                               const Tensor& mean_loss);

/// images u8 [count, H, W], index i64 [N], angles f32 [N] in radians or undefined -> f32 [N, 1, H, W]: the
/// images that `index` names, rotated, (pixel/255 - mean)/std. See kernels/rotate.h. Not differentiable:
/// images are data.
Tensor rotate_normalize(const Tensor& images, const Tensor& index, const Tensor& angles, double mean,
                        double std);

/// Images to take batches from, dense and on one device.
struct ImageSource {
  Tensor images;  ///< u8 [count, H, W]
  Tensor labels;  ///< i64 [count]
  Tensor angles;  ///< f32 [count], radians; or undefined: none is rotated
  double mean, std;
};
/// The images that index[first] ... index[first + N - 1] name, as from rotate_normalize, f32 [N, 1, H, W],
/// and their labels, i64 [N]. first: one i64 on their device, which a CUDA graph reads at each launch;
/// undefined: 0. It is not checked.
std::pair<Tensor, Tensor> take_batch(const ImageSource& source, const Tensor& index, const Tensor& first,
                                     std::int64_t N);

}  // namespace evenkeel
