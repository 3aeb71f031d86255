// The sizes of fused blocks, and their epilogues without memory.
#pragma once

#include <optional>

#include "evenkeel/kernels/conv2d.h"
#include "evenkeel/nn/fusion.h"

namespace evenkeel::functional {

/// One convolution: x [C, H, W] of an image, z [K, P, Q].
struct FusedSizes {
  int C, H, W, K, R, pad, P, Q;
};

/// The sizes of every convolution of the blocks on x [N, C, H, W].
inline std::vector<FusedSizes> fused_sizes(const Shape& x, const std::vector<FusedBlock>& blocks) {
  std::vector<FusedSizes> sizes;
  auto C = static_cast<int>(x[1]), H = static_cast<int>(x[2]), W = static_cast<int>(x[3]);
  for (const FusedBlock& b : blocks) {
    const auto K = static_cast<int>(b.weight.size(0)), R = static_cast<int>(b.weight.size(2)),
               pad = static_cast<int>(b.conv.padding.h), window = static_cast<int>(b.window);
    const int P = H + 2 * pad - R + 1, Q = W + 2 * pad - R + 1;
    sizes.push_back({C, H, W, K, R, pad, P, Q});
    C = K;
    H = P / window;
    W = Q / window;
  }
  return sizes;
}

inline bool has_epilogue(const FusedBlock& b) {
  return b.relu_first || b.relu || b.norm != NormPartition::none || b.pool != FusedPool::none || b.p > 0;
}

/// What follows convolution `s`, its pointers null.
template <typename T>
Epilogue<T> epilogue_without_memory(const FusedBlock& b, std::int64_t N, const FusedSizes& s) {
  Epilogue<T> t;
  t.N = N;
  t.C = s.K;
  t.H = s.P;
  t.W = s.Q;
  t.relu_first = b.relu_first;
  t.relu = b.relu;
  t.norm = b.norm;
  const int pixels = s.P * s.Q;
  switch (b.norm) {
    case NormPartition::none:
      break;
    case NormPartition::batch:
      t.sets = s.K;
      break;
    case NormPartition::group:
      t.sets = static_cast<int>(b.groups);
      break;
    case NormPartition::rows:
      t.sets = s.K * pixels / static_cast<int>(b.normalized_shape.numel());
      break;
    case NormPartition::pixels:
      t.sets = pixels;
      break;
  }
  if (t.sets > 0) t.set_size = s.K * pixels / t.sets;
  t.training = b.training;
  t.eps = b.eps;
  t.momentum = b.momentum;
  t.pool = b.pool;
  t.window = static_cast<int>(b.window);
  t.p = b.p;
  t.key = b.key;
  return t;
}

/// The arguments of a kernel for convolution `s`, or for the epilogue after the last one: without memory.
template <typename Args>
Args fused_args(std::int64_t N, const FusedSizes& s) {
  Args a{};
  a.N = N;
  a.C = s.C;
  a.H = s.H;
  a.W = s.W;
  a.K = s.K;
  a.R = s.R;
  a.pad = s.pad;
  return a;
}

/// What a run is called in the graph, and in profiles.
struct RunNames {
  const char *op = "fused_blocks", *forward = "fused_run_forward", *backward = "fused_run_backward";
};
/// fused_blocks() on the CPU.
Tensor fused_run(const RunNames& names, const Tensor& x, const std::vector<FusedBlock>& blocks);
/// The sizes of a block on x [N, C, H, W], as of a convolution; R 0: there is none. Nothing where the two do
/// not fit each other.
std::optional<Conv2dSizes> run_sizes(const Shape& x, const FusedBlock& block);
/// The shape of its output.
Shape output_of(const Conv2dSizes& sizes, const FusedBlock& block);

/// As if a convolution followed the last one that leaves x as it is.
inline FusedSizes sizes_after(const FusedSizes& s, const FusedBlock& b) {
  const auto window = static_cast<int>(b.window);
  const int H = s.P / window, W = s.Q / window;
  return {s.K, H, W, s.K, 0, 0, H, W};
}

}  // namespace evenkeel::functional
