// The weight gradient of direct convolutions (stride 1, dilation 1, one group, filters 1x1 and 3x3), in two
// stages with a fixed order of additions.
#pragma once

#include "kernels/conv2d.h"
#include "kernels/cuda/conv2d_direct.cuh"
#include "kernels/cuda/reduce.cuh"

namespace evenkeel::cuda {

inline constexpr int kFiltersEach = 4;  // of a thread, whose accumulators are [4][R R]
inline constexpr int kWeightWarps = 8;

/// dweight[k,c,r,s] = sum over n,p,q of dy[n,k,p,q] x[n, c, p+r-pad_h, q+s-pad_w].
template <typename T>
struct WeightGradient {
  const T* dy;
  const T* x;
  T* partial;  // [chunks * slices][K, C, R, R]
  std::int64_t N;
  int C, H, W, K, P, Q;
  int pad_h, pad_w;

  // A block: a chunk of `images` images, `channels` channels and `quads` times 4 filters; a warp has one
  // channel, one quad and one of `slices` slices of the pixels. Planes come in steps of `rows` rows.
  std::int64_t images, chunks, channel_tiles, filter_tiles;
  int channels, quads, slices, rows;
};

/// Planes first .. first + count - 1 of from [planes, H, W], rows h0 .. h0 + height - 1 and `width` columns
/// from w0 on: tile [count][height][width], zeros outside.
template <typename T>
__device__ void load_planes(T* tile, const T* from, int first, int count, int planes, int H, int W, int h0,
                            int height, int w0, int width) {
  for (int i = static_cast<int>(threadIdx.x); i < count * height * width; i += static_cast<int>(blockDim.x)) {
    const int w = w0 + i % width, h = h0 + i / width % height, plane = first + i / (width * height);
    const bool inside = plane < planes && h >= 0 && h < H && w >= 0 && w < W;
    tile[i] = inside ? from[(static_cast<std::int64_t>(plane) * H + h) * W + w] : T(0);
  }
}

/// Each lane adds every 32nd pixel of its warp's slice; then the lanes are added in a tree. 9 + 4 values from
/// shared memory feed 36 multiply-adds. Bytes: x once for every filter tile, dy once for every channel tile,
/// and the partials once.
template <int R, typename T>
__global__ void __launch_bounds__(kWeightWarps * 32) conv2d_weight_kernel(WeightGradient<T> a) {
  SIMT_DYN_SHARED(T, shared);
  constexpr int kTaps = R * R;
  const int width = a.Q + R - 1, lane = static_cast<int>(threadIdx.x) % 32,
            warp = static_cast<int>(threadIdx.x) / 32;
  const int slice = warp % a.slices, quad = warp / a.slices % a.quads, channel = warp / a.slices / a.quads;
  const int k0 = static_cast<int>(blockIdx.x % a.filter_tiles) * a.quads * kFiltersEach;
  const int c0 = static_cast<int>(blockIdx.x / a.filter_tiles % a.channel_tiles) * a.channels;
  const std::int64_t chunk = blockIdx.x / a.filter_tiles / a.channel_tiles;
  T* const x_tile = shared;
  T* const dy_tile = shared + a.channels * (a.rows + R - 1) * width;
  const int pixels = a.rows * a.Q;
  T sums[kFiltersEach][kTaps] = {};
  for (std::int64_t n = chunk * a.images; n < min((chunk + 1) * a.images, a.N); ++n) {
    for (int p0 = 0; p0 < a.P; p0 += a.rows) {
      load_planes(x_tile, a.x + n * a.C * a.H * a.W, c0, a.channels, a.C, a.H, a.W, p0 - a.pad_h,
                  a.rows + R - 1, -a.pad_w, width);
      load_planes(dy_tile, a.dy + n * a.K * a.P * a.Q, k0, a.quads * kFiltersEach, a.K, a.P, a.Q, p0, a.rows,
                  0, a.Q);
      __syncthreads();
      const T* const x = x_tile + channel * (a.rows + R - 1) * width;
      const T* const dy = dy_tile + quad * kFiltersEach * pixels;
      for (int pixel = slice * 32 + lane; pixel < pixels; pixel += 32 * a.slices) {
        const T* const window = x + pixel / a.Q * width + pixel % a.Q;
        EK_UNROLL
        for (int tap = 0; tap < kTaps; ++tap) {
          const T value = window[tap / R * width + tap % R];
          EK_UNROLL
          for (int j = 0; j < kFiltersEach; ++j) sums[j][tap] += dy[j * pixels + pixel] * value;
        }
      }
      __syncthreads();
    }
  }
  T* const partial = a.partial + (chunk * a.slices + slice) * a.K * a.C * kTaps;
  EK_UNROLL
  for (int j = 0; j < kFiltersEach; ++j) {
    const int k = k0 + quad * kFiltersEach + j, c = c0 + channel;
    EK_UNROLL
    for (int tap = 0; tap < kTaps; ++tap) {
      const T sum = lane_sum(sums[j][tap]);
      if (lane == 0 && k < a.K && c < a.C)
        partial[(static_cast<std::int64_t>(k) * a.C + c) * kTaps + tap] = sum;
    }
  }
}

/// y[i] = the sum over j of partial[j][i], in the order of j. Bytes: the partials once.
template <typename T>
__global__ void __launch_bounds__(kConvThreads)
    conv2d_finalize_weight_kernel(T* y, const T* partial, std::int64_t parts, std::int64_t n) {
  const std::int64_t i = thread_number();
  if (i >= n) return;
  T sum = 0;
  for (std::int64_t j = 0; j < parts; ++j) sum += partial[j * n + i];
  y[i] = sum;
}

/// The part of WeightGradient that is chosen from the sizes; rows is 0 if a row of the tile is too long for
/// shared memory.
template <int R, typename T>
WeightGradient<T> plan_weight_gradient(const Conv2dBackwardWeightArgs<T>& g) {
  constexpr std::int64_t kMostChunks = 32;
  const Conv2dSizes& s = g.sizes;
  WeightGradient<T> a{};
  a.dy = g.dy;
  a.x = g.x;
  a.N = s.N;
  a.C = static_cast<int>(s.C);
  a.H = static_cast<int>(s.H);
  a.W = static_cast<int>(s.W);
  a.K = static_cast<int>(s.K);
  a.P = static_cast<int>(s.P);
  a.Q = static_cast<int>(s.Q);
  a.pad_h = static_cast<int>(s.pad_h);
  a.pad_w = static_cast<int>(s.pad_w);
  a.quads = static_cast<int>(min(blocks_for(s.K, kFiltersEach), std::int64_t{4}));
  a.channels = min(a.C, kWeightWarps / a.quads);
  a.slices = kWeightWarps / (a.quads * a.channels);
  a.images = blocks_for(s.N, kMostChunks);
  a.chunks = blocks_for(s.N, a.images);
  a.channel_tiles = blocks_for(s.C, a.channels);
  a.filter_tiles = blocks_for(s.K, a.quads * kFiltersEach);
  const std::int64_t width = s.Q + R - 1, room = kConvShared / static_cast<std::int64_t>(sizeof(T));
  const std::int64_t halo = a.channels * (R - 1) * width,
                     row = a.channels * width + a.quads * kFiltersEach * s.Q;
  a.rows = static_cast<int>(max(min((room - halo) / row, s.P), std::int64_t{0}));
  return a;
}

/// False, and nothing is done, if rows are too long.
template <int R, typename T>
bool conv2d_weight(const Conv2dBackwardWeightArgs<T>& g, Stream stream) {
  WeightGradient<T> a = plan_weight_gradient<R>(g);
  if (a.rows < 1) return false;
  const std::int64_t weights = g.sizes.K * g.sizes.C * R * R, parts = a.chunks * a.slices;
  a.partial = static_cast<T*>(workspace(stream, parts * weights * static_cast<std::int64_t>(sizeof(T))));
  const std::int64_t shared =
      static_cast<std::int64_t>(sizeof(T)) *
      (a.channels * (a.rows + R - 1) * (a.Q + R - 1) + a.quads * kFiltersEach * a.rows * a.Q);
  launch("conv2d_backward_weight", conv2d_weight_kernel<R, T>,
         {a.chunks * a.channel_tiles * a.filter_tiles, a.channels * a.quads * a.slices * 32, shared, stream},
         a);
  launch("conv2d_backward_weight_finalize", conv2d_finalize_weight_kernel<T>,
         {blocks_for(weights, kConvThreads), kConvThreads, 0, stream}, g.dweight,
         static_cast<const T*>(a.partial), parts, weights);
  return true;
}

}  // namespace evenkeel::cuda
