// Which layers of a Sequential run as one, and how they are found; layers know nothing of it. They are
// blocks: a convolution and what follows it. CUDA devices compute a convolution and direction in one kernel
// (kernels/fused_block.h), the CPU takes a few images through all blocks at once (kernels/fused_run.h).
#pragma once

#include <string>
#include <tuple>
#include <vector>

#include "evenkeel/kernels/fused_block.h"
#include "evenkeel/nn/functional.h"
#include "evenkeel/nn/module.h"

namespace evenkeel {

/// A convolution and what follows it, in this order: relu_first, norm, relu, pool, dropout; each may be
/// missing. On CUDA devices there is always a convolution, with stride 1, square filters and no bias.
struct FusedBlock {
  Tensor weight{};  ///< [K, C/groups, R, S], or undefined: no convolution
  Tensor bias{};    ///< [K] or undefined
  ConvOptions conv{};
  bool relu_first = false, relu = false;
  NormPartition norm = NormPartition::none;
  std::int64_t groups = 1;                                  ///< of group norm
  Shape normalized_shape{};                                 ///< of layer norm over the last axes
  Tensor gamma{}, beta{};                                   ///< or undefined
  Tensor running_mean{}, running_var{}, batches_tracked{};  ///< of batch norm, or undefined
  bool training = true;                                     ///< of batch norm
  double eps = kNormEps, momentum = kBatchNormMomentum;
  FusedPool pool = FusedPool::none;
  std::int64_t window = 1;
  double p = 0;     ///< of dropout
  RandomKey key{};  ///< of dropout

  /// What blocks that compute the same of their tensors agree in.
  auto settings() const {
    return std::tie(conv, relu_first, relu, norm, groups, normalized_shape, training, eps, momentum, pool,
                    window, p);
  }
};

/// True if this pool can be that of a block.
bool is_fused_pool(FusedPool pool, Size2d kernel, const PoolOptions& options);

/// How many of the blocks, from the first on, fused_blocks() computes of x, f32 or f64, and faster than one
/// op after another. On CUDA devices it is all or none: images must be small enough for the shared memory of
/// a thread block.
std::size_t fusable(const Tensor& x, const std::vector<FusedBlock>& blocks);

/// x [N, C, H, W] through all blocks: what the functions of nn/functional.h give one after another, to
/// rounding, with their gradients. Throws Error unless all of them are fusable().
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
/// The blocks that layers first, first + 1, ... are on `device`, as far as each layer takes its place in one.
/// A class that derives from a layer takes none, as its forward may compute something else.
FoundBlocks find_blocks(const Sequential& net, Device device, std::size_t first = 0);

/// Which layers of the net run together on x, and which alone, a line each, with the shapes of their outputs:
///
///   layers 0 to 22 together: Conv2d, BatchNorm2d, ReLU, ... -> [64, 10, 1, 1]
///   layer 23 alone: Flatten -> [64, 10]
///
/// The net computes x once for it, in evaluation mode and without gradients. Layers inside a layer of the net
/// are not looked at.
std::string summary(const Sequential& net, const Tensor& x);

/// Puts in the place of y what those of the layers first, first + 1, ... make of it that run as one. Returns
/// the first layer after them: `first` if there are none for this y.
std::size_t forward_fused(const Sequential& net, std::size_t first, Tensor& y);

}  // namespace nn
}  // namespace evenkeel
