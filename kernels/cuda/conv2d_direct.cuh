// Direct convolution for stride 1, dilation 1 and one group, and through it the input gradient of such a
// convolution: dx is the correlation of dy, padded by R-1-pad, with the filters turned by 180 degrees and
// their two channel axes exchanged.
#pragma once

#include "evenkeel/kernels/conv2d.h"
#include "evenkeel/kernels/cuda/divisor.cuh"
#include "evenkeel/kernels/cuda/vector.cuh"

namespace evenkeel::cuda {

inline constexpr int kConvThreads = 256;
inline constexpr int kConvEnoughThreads = 64;            // a block with fewer takes more images
inline constexpr std::int64_t kConvShared = 40 * 1024;   // bytes a block: any GPU since Turing has it
inline constexpr int kQuad = 4;                          // filters of a thread
inline constexpr int kMostQuads = 4, kMostColumns = 64;  // of a block

/// y[n,k,p,q] = bias[k] + sum over c,r,s of w(k,c,r,s) x[n, c, p+r-pad_h, q+s-pad_w], filters R x R. Images
/// are T, all else is Arithmetic<T>, tiles in shared memory too.
template <typename T>
struct DirectConv {
  T* y;
  const T* x;
  const Arithmetic<T>* weight;
  const Arithmetic<T>* bias;  // or null
  std::int64_t N;
  int C, H, W, K, P, Q;
  int pad_h, pad_w;
  int weight_k, weight_c;  // strides of the filters' channel axes
  bool turned;             // by 180 degrees
};

/// A block: `images` images x `strips` strips of rows x `columns` columns of y x `quads` quads of filters, a
/// thread each. The input comes in steps of `channels` channels. `x_height` x `x_width`: what it needs of a
/// plane of x.
struct DirectTiles {
  int images, strips, columns, quads, channels, x_height, x_width;
  std::int64_t row_tiles, column_tiles, filter_tiles;
  Divisor by_strips, by_columns, by_images, by_channels, by_x_height, by_x_width, by_filters;

  __host__ __device__ int filters() const { return quads * kQuad; }
  int threads() const { return images * strips * columns * quads; }
};

/// The place of a block in y.
struct ConvTile {
  std::int64_t n;
  int p, q, k;

  __device__ ConvTile(const DirectTiles& t, int rows) {
    std::int64_t b = blockIdx.x;
    k = static_cast<int>(b % t.filter_tiles) * t.filters();
    b /= t.filter_tiles;
    q = static_cast<int>(b % t.column_tiles) * t.columns;
    b /= t.column_tiles;
    p = static_cast<int>(b % t.row_tiles) * t.strips * rows;
    n = b / t.row_tiles * t.images;
  }
};

/// The place of a thread in its block.
struct ConvThread {
  int column, strip, image, quad;

  __device__ explicit ConvThread(const DirectTiles& t) : quad(static_cast<int>(threadIdx.x)) {
    column = t.by_columns.take_remainder(quad);
    strip = t.by_strips.take_remainder(quad);
    image = t.by_images.take_remainder(quad);
  }
};

/// x of this block for channels c0 .. c0 + channels - 1: tile [images][channels][x_height][x_width], zeros in
/// the padding.
template <typename T>
__device__ void load_input_tile(Arithmetic<T>* tile, const DirectConv<T>& a, const DirectTiles& t,
                                const ConvTile& at, int c0) {
  const int count = t.images * t.channels * t.x_height * t.x_width;
  const T* const x = a.x + at.n * a.C * a.H * a.W;
  const int images = static_cast<int>(min(a.N - at.n, static_cast<std::int64_t>(t.images)));
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    int image = i;
    const int w = at.q - a.pad_w + t.by_x_width.take_remainder(image);
    const int h = at.p - a.pad_h + t.by_x_height.take_remainder(image);
    const int c = c0 + t.by_channels.take_remainder(image);
    const bool inside = image < images && c < a.C && h >= 0 && h < a.H && w >= 0 && w < a.W;
    tile[i] = inside ? x[((image * a.C + c) * a.H + h) * a.W + w] : Arithmetic<T>(0);
  }
}

/// The filters of this block for the same channels: tile [channels][R R][filters], zeros past the last.
template <int R, typename T>
__device__ void load_filter_tile(Arithmetic<T>* tile, const DirectConv<T>& a, const DirectTiles& t,
                                 const ConvTile& at, int c0) {
  constexpr int kTaps = R * R;
  const int count = t.channels * kTaps * t.filters();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    int row = i;
    const int k = at.k + t.by_filters.take_remainder(row), tap = row % kTaps, c = c0 + row / kTaps;
    const bool inside = k < a.K && c < a.C;
    tile[i] = inside ? a.weight[k * a.weight_k + c * a.weight_c + (a.turned ? kTaps - 1 - tap : tap)]
                     : Arithmetic<T>(0);
  }
}

/// Adds one channel to the ROWS x kQuad sums of a thread: x is its first pixel in the input tile, w its quad
/// in the filter tile. A column of ROWS + R-1 pixels and R loads of a quad, which threads share, feed
/// R ROWS kQuad multiply-adds: 6 + 3 loads 48 of them for a 3x3 filter.
template <int R, int ROWS, typename T>
__device__ __forceinline__ void add_channel(T (&sums)[ROWS][kQuad], const T* x, int x_width, const T* w,
                                            int filters) {
  EK_UNROLL
  for (int s = 0; s < R; ++s) {
    T column[ROWS + R - 1];
    EK_UNROLL
    for (int i = 0; i < ROWS + R - 1; ++i) column[i] = x[i * x_width + s];
    EK_UNROLL
    for (int r = 0; r < R; ++r) {
      EK_UNROLL
      for (int k = 0; k < kQuad; k += kVector<T>) {
        const auto some = load<kVector<T>>(w + (r * R + s) * filters + k);
        EK_UNROLL
        for (int i = 0; i < ROWS; ++i) {
          EK_UNROLL
          for (int j = 0; j < kVector<T>; ++j) sums[i][k + j] += some.at[j] * column[i + r];
        }
      }
    }
  }
}

/// A thread has ROWS pixels, one below the other, and kQuad filters in registers; neighbours are in
/// neighbouring columns. 2 N K P Q C R R FLOP; bytes: x once for every filter tile, with the R-1 rows and
/// columns between tiles twice, the filters once a block, from the caches, and y once.
template <int R, int ROWS, typename T>
__global__ void __launch_bounds__(kConvThreads, 2) conv2d_direct_kernel(DirectConv<T> a, DirectTiles t) {
  using A = Arithmetic<T>;
  SIMT_DYN_SHARED(A, shared);
  const ConvTile at(t, ROWS);
  const ConvThread me(t);
  A* const filters = shared;  // first, as it is read in vectors
  A* const input = shared + t.channels * R * R * t.filters();
  const A* const x = input + (me.image * t.channels * t.x_height + me.strip * ROWS) * t.x_width + me.column;
  A sums[ROWS][kQuad] = {};
  for (int c0 = 0; c0 < a.C; c0 += t.channels) {
    load_filter_tile<R>(filters, a, t, at, c0);
    load_input_tile(input, a, t, at, c0);
    __syncthreads();
    EK_NO_UNROLL
    for (int c = 0; c < min(t.channels, a.C - c0); ++c) {
      add_channel<R>(sums, x + c * t.x_height * t.x_width, t.x_width,
                     filters + c * R * R * t.filters() + me.quad * kQuad, t.filters());
    }
    __syncthreads();
  }
  const std::int64_t n = at.n + me.image;
  const int p = at.p + me.strip * ROWS, q = at.q + me.column, k = at.k + me.quad * kQuad;
  if (n >= a.N || q >= a.Q) return;
  EK_UNROLL
  for (int j = 0; j < kQuad; ++j) {
    if (k + j >= a.K) break;
    const A bias = a.bias != nullptr ? a.bias[k + j] : A(0);
    T* const y = a.y + ((n * a.K + k + j) * a.P + p) * a.Q + q;
    EK_UNROLL
    for (int i = 0; i < ROWS; ++i) {
      if (p + i < a.P) y[i * a.Q] = static_cast<T>(sums[i][j] + bias);
    }
  }
}

/// `total` in the fewest parts of at most `most`, all but the last of one size.
struct Parts {
  std::int64_t count;
  int size;
  Parts(std::int64_t total, std::int64_t most)
      : count(blocks_for(total, most)), size(static_cast<int>(blocks_for(total, count))) {}
};

/// Chooses the tiles: all columns of as many strips as there are threads for, several images if they are
/// small, and as many channels at a time as shared memory holds: always at least one.
template <int R, int ROWS, typename T>
DirectTiles direct_tiles(const DirectConv<T>& a) {
  const Parts quads(blocks_for(a.K, kQuad), kMostQuads), columns(a.Q, kMostColumns);
  const Parts strips(blocks_for(a.P, ROWS), kConvThreads / (quads.size * columns.size));
  DirectTiles t{};
  t.quads = quads.size;
  t.columns = columns.size;
  t.strips = strips.size;
  t.filter_tiles = quads.count;
  t.column_tiles = columns.count;
  t.row_tiles = strips.count;
  t.images = 1;
  if (strips.count == 1 && columns.count == 1) {
    const std::int64_t most = INT32_MAX / (std::int64_t{a.C} * a.H * a.W);  // so that offsets have 32 bits
    t.images = static_cast<int>(min(min(a.N, most), std::int64_t{kConvEnoughThreads / t.threads()}));
    t.images = max(t.images, 1);
  }
  t.x_height = t.strips * ROWS + R - 1;
  t.x_width = t.columns + R - 1;
  const int channel = R * R * t.filters() + t.images * t.x_height * t.x_width;
  t.channels =
      min(a.C, static_cast<int>(kConvShared / static_cast<std::int64_t>(sizeof(Arithmetic<T>))) / channel);
  t.by_strips = Divisor(t.strips);
  t.by_columns = Divisor(t.columns);
  t.by_images = Divisor(t.images);
  t.by_channels = Divisor(t.channels);
  t.by_x_height = Divisor(t.x_height);
  t.by_x_width = Divisor(t.x_width);
  t.by_filters = Divisor(t.filters());
  return t;
}

template <int R, int ROWS, typename T>
void launch_direct(const char* name, const DirectConv<T>& a, Stream stream) {
  const DirectTiles t = direct_tiles<R, ROWS>(a);
  const std::int64_t elements = t.channels * (R * R * t.filters() + t.images * t.x_height * t.x_width);
  launch(name, conv2d_direct_kernel<R, ROWS, T>,
         {blocks_for(a.N, t.images) * t.row_tiles * t.column_tiles * t.filter_tiles, t.threads(),
          elements * static_cast<std::int64_t>(sizeof(Arithmetic<T>)), stream},
         a, t);
}

/// Runs a DirectConv with filters R x R, R 1 or 3, that is not empty.
template <typename T>
void conv2d_direct(const char* name, const DirectConv<T>& a, std::int64_t R, Stream stream) {
  const bool tall = a.P > 2;  // else most rows of a strip would be outside
  if (R == 1) {
    tall ? launch_direct<1, 4>(name, a, stream) : launch_direct<1, 1>(name, a, stream);
  } else {
    tall ? launch_direct<3, 4>(name, a, stream) : launch_direct<3, 1>(name, a, stream);
  }
}

/// True if there is nothing to multiply: all results are zero, or the bias.
inline bool is_empty(const Conv2dSizes& s) {
  return s.N == 0 || s.C == 0 || s.H == 0 || s.W == 0 || s.K == 0;
}

/// True for the convolutions that the kernels here and in conv2d_weight.cuh are for.
inline bool is_direct(const Conv2dSizes& s) {
  const bool plain =
      s.stride_h == 1 && s.stride_w == 1 && s.dilation_h == 1 && s.dilation_w == 1 && s.groups == 1;
  return plain && !is_empty(s) && s.R == s.S && (s.R == 1 || s.R == 3) && s.C * s.H * s.W < INT32_MAX &&
         s.K * s.P * s.Q < INT32_MAX && s.K * s.C * s.R * s.S < INT32_MAX;
}

/// True if conv2d_direct can do the input gradient too, which is padded by R - 1 - pad.
inline bool is_direct_backward(const Conv2dSizes& s) {
  return is_direct(s) && s.pad_h < s.R && s.pad_w < s.S;
}

}  // namespace evenkeel::cuda
