// The weight gradient of direct convolutions (stride 1, dilation 1, one group, filters 1x1 and 3x3), in two
// stages with a fixed order of additions.
#pragma once

#include "evenkeel/kernels/conv2d.h"
#include "evenkeel/kernels/cuda/conv2d_direct.cuh"
#include "evenkeel/kernels/cuda/reduce.cuh"

namespace evenkeel::cuda {

inline constexpr int kWeightWarps = 8;  // of a block, at most
inline constexpr int kFinalWarps = 8;
/// Pixels that a thread takes at a time, one below the other.
template <int R>
inline constexpr int kWeightRows = R == 1 ? 4 : 2;

/// dweight[k,c,r,s] = sum over n,p,q of dy[n,k,p,q] x[n, c, p+r-pad_h, q+s-pad_w], filters R x R. Images are
/// T, all else is Arithmetic<T>, tiles in shared memory too.
template <typename T>
struct WeightGradient {
  const T* dy;
  const T* x;
  Arithmetic<T>* partial;  // [chunks][K, C, R, R]
  std::int64_t N;
  int C, H, W, K, P, Q;
  int pad_h, pad_w;
};

/// The part of a plane that a block holds, [height][width], with `stride` elements to the next plane.
struct TilePlane {
  int height, width, stride;
  Divisor by_height, by_width;

  TilePlane() = default;
  TilePlane(int h, int w, int s) : height(h), width(w), stride(s), by_height(h), by_width(w) {}
};

/// A block: a chunk of `images` images, for `groups` groups of 32 / lanes channels and `quads` quads of
/// filters. A warp has a group, a quad and one of `slices` slices of the pixels, which come in steps of
/// `rows` rows; `lanes` of its lanes, a power of two, share the slice of a channel.
struct WeightTiles {
  int lanes, groups, quads, slices, rows;
  TilePlane x, dy;
  std::int64_t images, chunks, channel_tiles, filter_tiles;
  Divisor by_Q, by_filter;

  EK_HOST_DEVICE int channels() const { return groups * (kWarp / lanes); }
  EK_HOST_DEVICE int filters() const { return quads * kQuad; }
  int threads() const { return groups * quads * slices * kWarp; }
};

/// The place of a thread: its slice, filters filter .. filter + 3 and channel of the block, and the block's
/// first filter and channel, and chunk.
struct WeightPlace {
  int slice, lane, filter, channel, k0, c0;
  std::int64_t chunk;

  __device__ explicit WeightPlace(const WeightTiles& t) {
    const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp;
    lane = thread % t.lanes;
    slice = warp % t.slices;
    filter = warp / t.slices % t.quads * kQuad;
    channel = (warp / t.slices / t.quads * kWarp + thread % kWarp) / t.lanes;
    k0 = static_cast<int>(blockIdx.x % t.filter_tiles) * t.filters();
    c0 = static_cast<int>(blockIdx.x / t.filter_tiles % t.channel_tiles) * t.channels();
    chunk = blockIdx.x / t.filter_tiles / t.channel_tiles;
  }
};

/// Planes first .. first + count - 1 of from [planes, H, W], rows from h0 and columns from w0 on; zeros
/// outside.
template <typename T>
__device__ void load_planes(Arithmetic<T>* tile, const TilePlane& to, const T* from, int first, int count,
                            int planes, int H, int W, int h0, int w0) {
  const int elements = count * to.height * to.width;
  for (int i = static_cast<int>(threadIdx.x); i < elements; i += static_cast<int>(blockDim.x)) {
    int plane = i;
    const int column = to.by_width.take_remainder(plane), row = to.by_height.take_remainder(plane);
    const int w = w0 + column, h = h0 + row;
    const bool inside = first + plane < planes && h >= 0 && h < H && w >= 0 && w < W;
    tile[plane * to.stride + row * to.width + column] =
        inside ? from[((first + plane) * H + h) * W + w] : Arithmetic<T>(0);
  }
}

/// Adds kWeightRows pixels, one below the other, of a channel and a quad of filters: x is the first pixel's
/// window, dy its place in the first filter's plane. Only `rows` of the pixels exist: the others must not add
/// 0 * infinity. 12 + 8 loads feed 72 multiply-adds for a 3x3 filter.
template <int R, typename T>
__device__ __forceinline__ void add_pixels(T (&sums)[kQuad][R * R], const T* x, int x_width, const T* dy,
                                           int dy_width, int dy_stride, int rows) {
  T grad[kQuad][kWeightRows<R>];
  EK_UNROLL
  for (int j = 0; j < kQuad; ++j) {
    EK_UNROLL
    for (int i = 0; i < kWeightRows<R>; ++i) grad[j][i] = dy[j * dy_stride + i * dy_width];
  }
  EK_UNROLL
  for (int s = 0; s < R; ++s) {
    EK_UNROLL
    for (int h = 0; h < kWeightRows<R> + R - 1; ++h) {
      const T value = x[h * x_width + s];
      EK_UNROLL
      for (int i = max(0, h - R + 1); i < min(kWeightRows<R>, h + 1); ++i) {
        if (i >= rows) continue;
        EK_UNROLL
        for (int j = 0; j < kQuad; ++j) sums[j][(h - i) * R + s] += grad[j][i] * value;
      }
    }
  }
}

/// Adds the sums of the lanes, then of the slices of a block, each in a fixed order, and writes them to the
/// chunk's partial gradient. Call: all threads, after a barrier. Shared memory: a partial gradient a slice,
/// [slices][filters][channels][R][R].
template <int R, typename T>
__device__ __forceinline__ void write_partial(Arithmetic<T>* shared, Arithmetic<T> (&sums)[kQuad][R * R],
                                              const WeightGradient<T>& a, const WeightTiles& t,
                                              const WeightPlace& at) {
  using A = Arithmetic<T>;
  constexpr int kTaps = R * R;
  EK_NO_UNROLL
  for (int distance = t.lanes / 2; distance > 0; distance /= 2) {
    EK_UNROLL
    for (int j = 0; j < kQuad; ++j) {
      EK_UNROLL
      for (int tap = 0; tap < kTaps; ++tap)
        sums[j][tap] += __shfl_xor_sync(kWholeWarp, sums[j][tap], distance);
    }
  }
  const int of_filter = t.channels() * kTaps, of_slice = t.filters() * of_filter;
  if (at.lane == 0) {
    A* const mine = shared + at.slice * of_slice + at.filter * of_filter + at.channel * kTaps;
    EK_UNROLL
    for (int j = 0; j < kQuad; ++j) {
      EK_UNROLL
      for (int tap = 0; tap < kTaps; ++tap) mine[j * of_filter + tap] = sums[j][tap];
    }
  }
  __syncthreads();
  A* const partial = a.partial + at.chunk * a.K * a.C * kTaps;
  for (int i = static_cast<int>(threadIdx.x); i < of_slice; i += static_cast<int>(blockDim.x)) {
    int k = i;
    const int weight = t.by_filter.take_remainder(k) + at.c0 * kTaps;
    A sum = shared[i];
    for (int slice = 1; slice < t.slices; ++slice) sum += shared[slice * of_slice + i];
    if (at.k0 + k < a.K && weight < a.C * kTaps) partial[(at.k0 + k) * a.C * kTaps + weight] = sum;
  }
}

/// A thread has the R R taps of a channel and a quad of filters in registers. 2 N K P Q C R R FLOP; bytes: x
/// once for every filter tile, dy once for every channel tile (tiles of 16 where there are as many), and the
/// partials once.
template <int R, typename T>
__global__ void __launch_bounds__(kWeightWarps* kWarp)
    conv2d_weight_kernel(WeightGradient<T> a, WeightTiles t) {
  using A = Arithmetic<T>;
  SIMT_DYN_SHARED(A, shared);
  const WeightPlace at(t);
  A* const x_tile = shared;
  A* const dy_tile = shared + t.channels() * t.x.stride;
  const A* const my_x = x_tile + at.channel * t.x.stride;
  const A* const my_dy = dy_tile + at.filter * t.dy.stride;
  A sums[kQuad][R * R] = {};
  for (std::int64_t n = at.chunk * t.images; n < min((at.chunk + 1) * t.images, a.N); ++n) {
    const T* const x = a.x + n * a.C * a.H * a.W;
    const T* const dy = a.dy + n * a.K * a.P * a.Q;
    for (int p0 = 0; p0 < a.P; p0 += t.rows) {
      load_planes(x_tile, t.x, x, at.c0, t.channels(), a.C, a.H, a.W, p0 - a.pad_h, -a.pad_w);
      load_planes(dy_tile, t.dy, dy, at.k0, t.filters(), a.K, a.P, a.Q, p0, 0);
      __syncthreads();
      const int rows = min(t.rows, a.P - p0), units = (rows + kWeightRows<R> - 1) / kWeightRows<R> * a.Q;
      EK_NO_UNROLL
      for (int unit = at.slice * t.lanes + at.lane; unit < units; unit += t.slices * t.lanes) {
        int strip = unit;
        const int q = t.by_Q.take_remainder(strip), row = strip * kWeightRows<R>;
        add_pixels<R>(sums, my_x + row * t.x.width + q, t.x.width, my_dy + row * a.Q + q, a.Q, t.dy.stride,
                      rows - row);
      }
      __syncthreads();
    }
  }
  write_partial<R>(shared, sums, a, t, at);
}

/// y[i] = the sum over j of partial[j][i]: a warp takes every eighth j in order, then the warps are added in
/// order. Bytes: the partials once.
template <typename T>
__global__ void __launch_bounds__(kFinalWarps* kWarp)
    conv2d_finalize_weight_kernel(T* y, const T* partial, std::int64_t parts, std::int64_t n) {
  SIMT_SHARED(T, sums, [kFinalWarps][kWarp]);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kWarp + lane;
  T sum = 0;
  for (std::int64_t j = warp; i < n && j < parts; j += kFinalWarps) sum += partial[j * n + i];
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || i >= n) return;
  for (int other = 1; other < kFinalWarps; ++other) sum += sums[other][lane];
  y[i] = sum;
}

/// Chooses the tiles for blocks of at most `most` warps that differ in filters or channels; rows is 0 if
/// planes are too wide for shared memory.
template <int R, typename T>
WeightTiles weight_tiles(const WeightGradient<T>& a, int most) {
  constexpr std::int64_t kMostChunks = 64;
  constexpr int kRoom = static_cast<int>(kConvShared / static_cast<std::int64_t>(sizeof(Arithmetic<T>)));
  WeightTiles t{};
  t.lanes = kWarp / min(lanes_for(a.C), 8);
  const Parts quads(blocks_for(a.K, kQuad), min(most, kMostQuads));
  const Parts groups(blocks_for(a.C, kWarp / t.lanes), most / quads.size);
  t.quads = quads.size;
  t.groups = groups.size;
  t.slices = kWeightWarps / (t.quads * t.groups);
  t.filter_tiles = quads.count;
  t.channel_tiles = groups.count;
  t.images = blocks_for(a.N, kMostChunks);
  t.chunks = blocks_for(a.N, t.images);
  const int width = a.Q + R - 1;
  // The stride of planes of x is `lanes` more than a multiple of 32, against bank conflicts between channels.
  const auto stride = [&](int rows) {
    return ((rows + R - 1) * width - t.lanes + kWarp - 1) / kWarp * kWarp + t.lanes;
  };
  const auto elements = [&](int rows) {
    return std::int64_t{t.channels()} * stride(rows) + std::int64_t{t.filters()} * rows * a.Q;
  };
  t.rows = static_cast<int>(blocks_for(a.P, kWeightRows<R>)) * kWeightRows<R>;
  while (t.rows > 0 && elements(t.rows) > kRoom) t.rows -= kWeightRows<R>;
  if (t.rows == 0) return t;
  t.rows = Parts(blocks_for(a.P, kWeightRows<R>), t.rows / kWeightRows<R>).size * kWeightRows<R>;
  t.x = TilePlane(t.rows + R - 1, width, stride(t.rows));
  t.dy = TilePlane(t.rows, a.Q, t.rows * a.Q);
  t.by_Q = Divisor(a.Q);
  t.by_filter = Divisor(t.channels() * R * R);
  return t;
}

/// False, and nothing is done, if planes are too wide.
template <int R, typename T>
bool conv2d_weight(const Conv2dBackwardWeightArgs<T>& g, Stream stream) {
  const Conv2dSizes& s = g.sizes;
  const auto i = [](std::int64_t n) { return static_cast<int>(n); };
  WeightGradient<T> a{g.dy,   g.x,    nullptr, s.N,    i(s.C),     i(s.H),
                      i(s.W), i(s.K), i(s.P),  i(s.Q), i(s.pad_h), i(s.pad_w)};
  if (s.Q > kConvShared || s.P > kConvShared) return false;
  WeightTiles t = weight_tiles<R>(a, kWeightWarps);
  if (t.rows == 0) t = weight_tiles<R>(a, 1);
  if (t.rows == 0) return false;
  using A = Arithmetic<T>;
  constexpr std::int64_t kBytes = sizeof(A);
  const std::int64_t weights = s.K * s.C * R * R;
  a.partial = static_cast<A*>(workspace(stream, t.chunks * weights * kBytes));
  const std::int64_t tiles = t.channels() * t.x.stride + t.filters() * t.dy.stride,
                     sums = std::int64_t{t.slices} * t.filters() * t.channels() * R * R;
  launch("conv2d_backward_weight", conv2d_weight_kernel<R, T>,
         {t.chunks * t.channel_tiles * t.filter_tiles, t.threads(), max(tiles, sums) * kBytes, stream}, a, t);
  launch("conv2d_backward_weight_finalize", conv2d_finalize_weight_kernel<A>,
         {blocks_for(weights, kWarp), kFinalWarps * kWarp, 0, stream}, g.dweight,
         static_cast<const A*>(a.partial), t.chunks, weights);
  return true;
}

}  // namespace evenkeel::cuda
