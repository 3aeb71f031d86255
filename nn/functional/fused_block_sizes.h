// The sizes of a chain of convolutions, and its tails without their memory.
#pragma once

#include "evenkeel/nn/fusion.h"

namespace evenkeel::functional {

/// One convolution: x [C, H, W] of an image, z [K, P, Q].
struct ChainSizes {
  int C, H, W, K, R, pad, P, Q;
};

/// Of every convolution of a chain on x [N, C, H, W].
inline std::vector<ChainSizes> chain_sizes(const Shape& x, const std::vector<ConvBlock>& blocks) {
  std::vector<ChainSizes> sizes;
  auto C = static_cast<int>(x[1]), H = static_cast<int>(x[2]), W = static_cast<int>(x[3]);
  for (const ConvBlock& b : blocks) {
    const auto K = static_cast<int>(b.weight.size(0)), R = static_cast<int>(b.weight.size(2)),
               pad = static_cast<int>(b.padding), window = static_cast<int>(b.window);
    const int P = H + 2 * pad - R + 1, Q = W + 2 * pad - R + 1;
    sizes.push_back({C, H, W, K, R, pad, P, Q});
    C = K;
    H = P / window;
    W = Q / window;
  }
  return sizes;
}

inline bool has_tail(const ConvBlock& b) {
  return b.relu_first || b.relu || b.norm != ChainNorm::none || b.pool != ChainPool::none || b.p > 0;
}

/// What follows convolution `s`, its pointers null.
template <typename T>
ChainTail<T> tail_without_memory(const ConvBlock& b, std::int64_t N, const ChainSizes& s) {
  ChainTail<T> t;
  t.N = N;
  t.C = s.K;
  t.H = s.P;
  t.W = s.Q;
  t.relu_first = b.relu_first;
  t.relu = b.relu;
  t.norm = b.norm;
  const int pixels = s.P * s.Q;
  switch (b.norm) {
    case ChainNorm::none:
      break;
    case ChainNorm::batch:
      t.sets = s.K;
      break;
    case ChainNorm::group:
      t.sets = static_cast<int>(b.groups);
      break;
    case ChainNorm::rows:
      t.sets = s.K * pixels / static_cast<int>(b.normalized_shape.numel());
      break;
    case ChainNorm::pixels:
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

/// The arguments of a kernel for convolution `s`, or for the tail after the last one: without memory.
template <typename Args>
Args chain_args(std::int64_t N, const ChainSizes& s) {
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

/// As if a convolution followed the last one that leaves x as it is.
inline ChainSizes sizes_after(const ChainSizes& s, const ConvBlock& b) {
  const auto window = static_cast<int>(b.window);
  const int H = s.P / window, W = s.Q / window;
  return {s.K, H, W, s.K, 0, 0, H, W};
}

}  // namespace evenkeel::functional
