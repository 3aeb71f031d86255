// Fused blocks on the CPU: a run of blocks (kernels/fused_block.h), each a convolution and what follows it,
// computed for a few images at a time, so that what passes from block to block stays in a core's cache.
//
// A task takes as many images as a vector register has lanes, one image a lane, through the blocks: element i
// of all its images is one register, and every layer, whatever its channels and sizes, is element-wise code
// without remainders. Forward keeps z of every block, the statistics of its norm, the taps of its maximum
// pool and its dropout mask; backward makes the inputs of convolutions from them again. Only batch norm needs
// other images: tasks end there, and the next begin when the moments of all are merged.
#pragma once

#include "evenkeel/kernels/conv2d.h"
#include "evenkeel/kernels/fused_block.h"

namespace evenkeel {

/// A block of the run. Its convolution may have strides, padding, dilation, groups and a bias; or there is
/// none, and z is x.
template <typename T>
struct RunBlock {
  Conv2dSizes conv{};  // R = 0: no convolution; then K = C, P = H, Q = W
  const T* bias = nullptr;
  Epilogue<T> after;  // weight, gamma, beta and the running statistics are in after.block

  // Backward; null: not wanted.
  T* dweight = nullptr;
  T* dbias = nullptr;
  T* dgamma = nullptr;
  T* dbeta = nullptr;

  bool has_convolution() const { return conv.R > 0; }
  std::int64_t elements_of_x() const { return conv.C * conv.H * conv.W; }
  std::int64_t elements_of_z() const { return conv.K * conv.P * conv.Q; }
  std::int64_t elements_of_output() const {
    if (after.pool == FusedPool::none) return elements_of_z();
    return conv.K * (conv.P / after.window) * (conv.Q / after.window);
  }
  /// True where the output of a maximum pool is kept in place of its input, which nothing else needs.
  bool keeps_pooled() const { return after.pool == FusedPool::max && after.norm == NormPartition::none; }
  /// Nothing follows the convolution, and its z is the output.
  bool is_bare() const {
    return has_convolution() && after.norm == NormPartition::none && !after.relu_first && !after.relu &&
           after.pool == FusedPool::none && after.p == 0;
  }
  /// The z that is kept is x.
  bool z_is_x() const { return !has_convolution() && !keeps_pooled(); }
  /// Batch norm by the statistics of the batch, where every task waits for all others.
  bool needs_batch() const { return after.norm == NormPartition::batch && after.training; }
};

/// N images [C, H, W] for a run or from one: dense, or in units, as a run has them inside. A unit is as many
/// images as a vector register has lanes: of all of them element 0, then element 1, and so on. The last unit
/// has places for as many images as the others.
template <typename T>
struct RunImages {
  T* at = nullptr;
  bool in_units = false;
};

/// y [N, C, H, W] of the last block from x [N, C, H, W] of the first. Batch norm that is training also
/// updates its running statistics.
template <typename T>
struct FusedRunForwardArgs {
  RunImages<T> y;
  std::byte* saved;  // fused_run_memory() bytes for backward; null: there will be none
  RunImages<const T> x;
  const RunBlock<T>* blocks;
  std::int64_t count, N;
};
EK_DECLARE_CPU_VECTOR_KERNEL(fused_run_forward, FusedRunForwardArgs)

/// The gradients that the blocks ask for, and dx. Those of parameters are sums over images, added as a binary
/// tree over the images of the batch: pairs, pairs of pairs, and so on.
template <typename T>
struct FusedRunBackwardArgs {
  RunImages<T> dx;  // or null
  const std::byte* saved;
  RunImages<const T> dy, x;
  const RunBlock<T>* blocks;
  std::int64_t count, N;
};
EK_DECLARE_CPU_VECTOR_KERNEL(fused_run_backward, FusedRunBackwardArgs)

/// x [N, size] from units of `lanes` images, which may be those of another instruction set.
template <typename T>
struct StoreUnitsArgs {
  T* x;
  const T* units;
  std::int64_t N, size, lanes;
};
EK_DECLARE_CPU_VECTOR_KERNEL(store_units, StoreUnitsArgs)

namespace cpu {
/// The bytes that forward keeps for backward, for any instruction set.
template <typename T>
std::int64_t fused_run_memory(const RunBlock<T>* blocks, std::int64_t count, std::int64_t N, bool x_in_units);
}  // namespace cpu

}  // namespace evenkeel
