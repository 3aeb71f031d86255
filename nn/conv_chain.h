// Chains of convolutions with what stands between them, computed together on CUDA devices: a kernel a
// convolution and direction. nn::Sequential finds them by itself; see kernels/conv_chain.h for how they are
// computed.
#pragma once

#include <vector>

#include "evenkeel/kernels/conv_chain.h"
#include "evenkeel/nn/functional.h"

namespace evenkeel {

/// A convolution (stride 1, square filters, no bias) and what follows it, in this order: relu_first, norm,
/// relu, pool, dropout; each may be missing.
struct ConvBlock {
  Tensor weight;  ///< [K, C, R, R]
  std::int64_t padding = 0;
  bool relu_first = false, relu = false;
  ChainNorm norm = ChainNorm::none;
  std::int64_t groups = 1;                            ///< of group norm
  Shape normalized_shape;                             ///< of layer norm over the last axes
  Tensor gamma, beta;                                 ///< or undefined
  Tensor running_mean, running_var, batches_tracked;  ///< of batch norm, or undefined
  bool training = true;                               ///< of batch norm
  double eps = 1e-5, momentum = 0.1;
  ChainPool pool = ChainPool::none;
  std::int64_t window = 1;
  double p = 0;     ///< of dropout
  RandomKey key{};  ///< of dropout
};

/// Takes layers one after another, each of which may not fit where the chain has got to: then add_ returns
/// false and changes nothing, and the chain ends before it.
class ConvChain {
 public:
  bool add_conv2d(const Tensor& weight, const Tensor& bias, const ConvOptions& options);
  bool add_relu();
  /// A block with a norm filled in, and only that.
  bool add_norm(const ConvBlock& norm);
  bool add_pool(ChainPool pool, Size2d kernel, const PoolOptions& options);
  bool add_dropout(double p);

  const std::vector<ConvBlock>& blocks() const { return blocks_; }
  /// True if conv_chain() computes this of x: a CUDA tensor f32 or f64 of images small enough for the shared
  /// memory of a block.
  bool takes(const Tensor& x) const;
  /// The keys of all dropouts, in order.
  void draw_keys(Generator& generator);

 private:
  enum class Place { conv, relu_first, norm, relu, pool, dropout };
  /// Moves on to `place` if it comes later than where the block is.
  bool reach(Place place);

  std::vector<ConvBlock> blocks_;
  Place place_ = Place::conv;
};

/// x [N, C, H, W] through all blocks of a chain that takes it: what the functions of nn/functional.h give one
/// after another, to rounding, with their gradients.
Tensor conv_chain(const Tensor& x, const ConvChain& chain);

/// While one is alive, Sequential runs its layers one by one on this thread.
class NoFusion {
 public:
  NoFusion();
  ~NoFusion();
  NoFusion(const NoFusion&) = delete;
  NoFusion& operator=(const NoFusion&) = delete;

 private:
  bool before_;
};
bool fusion_enabled();

}  // namespace evenkeel
