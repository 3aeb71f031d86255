// Direct convolution for stride 1, dilation 1 and one group, and through it the input gradient of such a
// convolution: dx is the correlation of dy, padded by R-1-pad, with the filters turned by 180 degrees and
// their two channel axes exchanged.
#pragma once

#include "kernels/conv2d.h"
#include "kernels/cuda/vector.cuh"

namespace evenkeel::cuda {

inline constexpr int kConvThreads = 256;
inline constexpr std::int64_t kConvShared = 40 * 1024;  // bytes a block: any GPU since Turing has it

/// y[n,k,p,q] = bias[k] + sum over c,r,s of w(k,c,r,s) x[n, c, p+r-pad_h, q+s-pad_w], filters R x R.
template <typename T>
struct DirectConv {
  T* y;
  const T* x;
  const T* weight;
  const T* bias;  // or null
  std::int64_t N;
  int C, H, W, K, P, Q;
  int pad_h, pad_w;
  int weight_k, weight_c;  // strides of the filters' channel axes
  bool turned;             // by 180 degrees

  // A block: `images` images x `rows` rows x `columns` columns of y, a thread a pixel, and FILTERS filters.
  // The input comes in steps of `channels` channels.
  int images = 0, rows = 0, columns = 0, channels = 0;
  std::int64_t row_tiles = 0, column_tiles = 0, filter_tiles = 0;
};

/// The place of a block in y.
struct ConvTile {
  std::int64_t n;
  int p, q, k;

  template <typename T>
  __device__ ConvTile(const DirectConv<T>& a, int filters) {
    std::int64_t b = blockIdx.x;
    k = static_cast<int>(b % a.filter_tiles) * filters;
    b /= a.filter_tiles;
    q = static_cast<int>(b % a.column_tiles) * a.columns;
    b /= a.column_tiles;
    p = static_cast<int>(b % a.row_tiles) * a.rows;
    n = b / a.row_tiles * a.images;
  }
};

/// x of this block for channels c0 .. c0 + channels - 1: tile [images][channels][rows + R-1][columns + R-1],
/// zeros in the padding.
template <int R, typename T>
__device__ void load_input_tile(T* tile, const DirectConv<T>& a, const ConvTile& at, int c0) {
  const int height = a.rows + R - 1, width = a.columns + R - 1;
  const int count = a.images * a.channels * height * width;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    const int w = at.q + i % width - a.pad_w, h = at.p + i / width % height - a.pad_h;
    const int c = c0 + i / (width * height) % a.channels;
    const std::int64_t n = at.n + i / (width * height * a.channels);
    const bool inside = n < a.N && c < a.C && h >= 0 && h < a.H && w >= 0 && w < a.W;
    tile[i] = inside ? a.x[((n * a.C + c) * a.H + h) * a.W + w] : T(0);
  }
}

/// The filters of this block for the same channels: tile [channels][R R][FILTERS], zeros past the last.
template <int R, int FILTERS, typename T>
__device__ void load_filter_tile(T* tile, const DirectConv<T>& a, const ConvTile& at, int c0) {
  constexpr int kTaps = R * R;
  for (int i = static_cast<int>(threadIdx.x); i < a.channels * kTaps * FILTERS;
       i += static_cast<int>(blockDim.x)) {
    const int k = at.k + i % FILTERS, tap = i / FILTERS % kTaps, c = c0 + i / (FILTERS * kTaps);
    const std::int64_t from = static_cast<std::int64_t>(k) * a.weight_k +
                              static_cast<std::int64_t>(c) * a.weight_c + (a.turned ? kTaps - 1 - tap : tap);
    tile[i] = k < a.K && c < a.C ? a.weight[from] : T(0);
  }
}

/// A thread has one pixel and FILTERS filters in registers: one input value and FILTERS/4 loads of 16 bytes,
/// which all threads share, feed FILTERS multiply-adds. 2 N K P Q C R R FLOP; bytes: x once for every filter
/// tile, with the rows between tiles twice, and y once.
template <int R, int FILTERS, typename T>
__global__ void __launch_bounds__(kConvThreads, 2) conv2d_direct_kernel(DirectConv<T> a) {
  SIMT_DYN_SHARED(T, shared);
  const ConvTile at(a, FILTERS);
  const int height = a.rows + R - 1, width = a.columns + R - 1;
  T* const filters = shared;  // first, as it is read in vectors
  T* const input = shared + a.channels * R * R * FILTERS;
  const int pixel = static_cast<int>(threadIdx.x), of_image = a.rows * a.columns;
  const int image = pixel / of_image, row = pixel % of_image / a.columns, column = pixel % a.columns;
  const bool works = image < a.images;
  T sums[FILTERS] = {};
  for (int c0 = 0; c0 < a.C; c0 += a.channels) {
    load_filter_tile<R, FILTERS>(filters, a, at, c0);
    load_input_tile<R>(input, a, at, c0);
    __syncthreads();
    EK_NO_UNROLL
    for (int c = 0; works && c < min(a.channels, a.C - c0); ++c) {
      const T* const x = input + ((image * a.channels + c) * height + row) * width + column;
      EK_UNROLL
      for (int tap = 0; tap < R * R; ++tap) {
        const T value = x[tap / R * width + tap % R];
        EK_UNROLL
        for (int k = 0; k < FILTERS; k += kVector<T>) {
          const auto w = load<kVector<T>>(filters + (c * R * R + tap) * FILTERS + k);
          EK_UNROLL
          for (int j = 0; j < kVector<T>; ++j) sums[k + j] += w.at[j] * value;
        }
      }
    }
    __syncthreads();
  }
  const std::int64_t n = at.n + image;
  const int p = at.p + row, q = at.q + column;
  if (!works || n >= a.N || p >= a.P || q >= a.Q) return;
  EK_UNROLL
  for (int k = 0; k < FILTERS; ++k) {
    if (at.k + k < a.K)
      a.y[((n * a.K + at.k + k) * a.P + p) * a.Q + q] =
          sums[k] + (a.bias != nullptr ? a.bias[at.k + k] : T(0));
  }
}

/// Chooses the tile: whole small images, several to a block, or rows of a larger one; then as many channels
/// as shared memory holds.
template <int R, int FILTERS, typename T>
void launch_direct(const char* name, DirectConv<T> a, Stream stream) {
  a.columns = a.Q < kConvThreads ? a.Q : kConvThreads / 4;
  a.rows = min(a.P, kConvThreads / a.columns);
  const bool whole = a.rows == a.P && a.columns == a.Q;
  a.images = whole ? static_cast<int>(min(a.N, std::int64_t{kConvThreads / (a.rows * a.columns)})) : 1;
  const auto shared = [&](int channels) {
    return static_cast<std::int64_t>(sizeof(T)) * channels *
           (R * R * FILTERS + a.images * (a.rows + R - 1) * (a.columns + R - 1));
  };
  while (a.images > 1 && shared(1) > kConvShared) a.images /= 2;
  a.channels = static_cast<int>(max(std::int64_t{1}, min(std::int64_t{a.C}, kConvShared / shared(1))));
  a.row_tiles = blocks_for(a.P, a.rows);
  a.column_tiles = blocks_for(a.Q, a.columns);
  a.filter_tiles = blocks_for(a.K, FILTERS);
  const int threads = (a.images * a.rows * a.columns + 31) / 32 * 32;
  launch(name, conv2d_direct_kernel<R, FILTERS, T>,
         {blocks_for(a.N, a.images) * a.row_tiles * a.column_tiles * a.filter_tiles, threads,
          shared(a.channels), stream},
         a);
}

/// Runs a DirectConv with filters R x R, R 1 or 3.
template <typename T>
void conv2d_direct(const char* name, const DirectConv<T>& a, std::int64_t R, Stream stream) {
  const auto with_filters = [&]<int FILTERS>() {
    R == 1 ? launch_direct<1, FILTERS>(name, a, stream) : launch_direct<3, FILTERS>(name, a, stream);
  };
  if (a.K <= 4) {
    with_filters.template operator()<4>();
  } else if (a.K <= 8) {
    with_filters.template operator()<8>();
  } else {
    with_filters.template operator()<16>();
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
  return plain && !is_empty(s) && s.R == s.S && (s.R == 1 || s.R == 3) && s.pad_h < s.R && s.pad_w < s.R &&
         s.C * s.H * s.W < INT32_MAX && s.K * s.P * s.Q < INT32_MAX && s.K * s.C * s.R * s.S < INT32_MAX;
}

}  // namespace evenkeel::cuda
