// Which layers of a Sequential run as one, and how they are found; layers know nothing of it. On CUDA devices
// they are blocks of small images, a convolution and what follows it (kernels/fused_block.h); on the CPU, in
// MemoryFormat::lanes, a ReLU and the group or layer norm that follows it.
#pragma once

#include <tuple>
#include <vector>

#include "evenkeel/kernels/fused_block.h"
#include "evenkeel/nn/functional.h"
#include "evenkeel/nn/module.h"

namespace evenkeel {

/// A convolution (stride 1, square filters, no bias) and what follows it, in this order: relu_first, norm,
/// relu, pool, dropout; each may be missing.
struct FusedBlock {
  Tensor weight;  ///< [K, C, R, R]
  std::int64_t padding = 0;
  bool relu_first = false, relu = false;
  NormPartition norm = NormPartition::none;
  std::int64_t groups = 1;                            ///< of group norm
  Shape normalized_shape;                             ///< of layer norm over the last axes
  Tensor gamma, beta;                                 ///< or undefined
  Tensor running_mean, running_var, batches_tracked;  ///< of batch norm, or undefined
  bool training = true;                               ///< of batch norm
  double eps = kNormEps, momentum = kBatchNormMomentum;
  FusedPool pool = FusedPool::none;
  std::int64_t window = 1;
  double p = 0;     ///< of dropout
  RandomKey key{};  ///< of dropout

  /// What blocks that compute the same of their tensors agree in.
  auto settings() const {
    return std::tie(padding, relu_first, relu, norm, groups, normalized_shape, training, eps, momentum, pool,
                    window, p);
  }
};

/// True if fused_blocks() computes this of x: a CUDA tensor f32 or f64 of images small enough for the shared
/// memory of a thread block, and parameters that fit them.
bool can_fuse(const Tensor& x, const std::vector<FusedBlock>& blocks);

/// x [N, C, H, W] through all blocks, a kernel a convolution and direction: what the functions of
/// nn/functional.h give one after another, to rounding, with their gradients. Throws Error unless can_fuse().
Tensor fused_blocks(const Tensor& x, const std::vector<FusedBlock>& blocks);

/// While one is alive, Sequential runs the layers of blocks one by one on this thread.
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

namespace nn {

/// Blocks that layers of a Sequential are.
struct FoundBlocks {
  std::vector<FusedBlock> blocks;  ///< without keys of dropout
  std::size_t end;                 ///< the first layer after them
};
/// The blocks that layers first, first + 1, ... are, as far as each layer takes its place in one. A class
/// that derives from a layer takes none, as its forward may compute something else.
FoundBlocks find_blocks(const Sequential& net, std::size_t first = 0);

/// Puts in the place of y what those of the layers first, first + 1, ... make of it that run as one. Returns
/// the first layer after them: `first` if there are none for this y.
std::size_t forward_fused(const Sequential& net, std::size_t first, Tensor& y);

}  // namespace nn
}  // namespace evenkeel
