// Direct convolution with images in the lanes of vectors (lanes.h). One kernel, correlate_block, serves
// forward and backward_input, which is the correlation of dy, spread by the stride, with the flipped weights;
// backward_weight has its own. A block of images is the unit of threads and of the sums of weight gradients.
#include "kernels/conv2d.h"

#include <vector>

#include "kernels/cpu/conv2d_gemm.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/lanes/ops.h"
#include "kernels/cpu/parallel.h"

namespace evenkeel::cpu {
namespace {

/// y[k][p][q] = bias[k] + sum over c,r,s of w[k][c][r][s] * x[c][row][q * stride_w + s * dilation_w], in
/// lanes, where row = (p * stride_h + r * dilation_h - pad_h) / spread_h must be a whole number in [0, H).
/// The columns of x are padded already: a row of x has `width` vectors.
struct Correlation {
  std::int64_t C, H, width;
  std::int64_t K, R, S, P, Q;
  std::int64_t stride_h, stride_w, dilation_h, dilation_w, pad_h, spread_h;

  /// The row of x that kernel row r meets at output row p, or -1.
  std::int64_t row(std::int64_t p, std::int64_t r) const {
    const std::int64_t t = p * stride_h + r * dilation_h - pad_h;
    return t >= 0 && t % spread_h == 0 && t / spread_h < H ? t / spread_h : -1;
  }
};

/// One tile of BK output channels x BQ pixels of output row p, from channel k and pixel q on: accumulators in
/// registers.
template <int BK, int BQ, typename T>
EK_INLINE void correlate_tile(Vec<T>* y, const Vec<T>* x, const T* w, const T* bias, const Correlation& g,
                              std::int64_t k, std::int64_t p, std::int64_t q) {
  Vec<T> sum[BK][BQ];
  for (int i = 0; i < BK; ++i) {
    for (int j = 0; j < BQ; ++j) sum[i][j] = Vec<T>{} + (bias != nullptr ? bias[k + i] : T(0));
  }
  const std::int64_t filter = g.C * g.R * g.S;
  for (std::int64_t r = 0; r < g.R; ++r) {
    const std::int64_t row = g.row(p, r);
    if (row < 0) continue;
    for (std::int64_t c = 0; c < g.C; ++c) {
      const Vec<T>* from = x + (c * g.H + row) * g.width + q * g.stride_w;
      const T* weight = w + k * filter + (c * g.R + r) * g.S;
      for (std::int64_t s = 0; s < g.S; ++s) {
        Vec<T> pixel[BQ];
#pragma GCC unroll 8
        for (int j = 0; j < BQ; ++j) pixel[j] = from[s * g.dilation_w + j * g.stride_w];
#pragma GCC unroll 8
        for (int i = 0; i < BK; ++i) {
#pragma GCC unroll 8
          for (int j = 0; j < BQ; ++j) sum[i][j] += weight[i * filter + s] * pixel[j];
        }
      }
    }
  }
  for (int i = 0; i < BK; ++i) {
    for (int j = 0; j < BQ; ++j) y[((k + i) * g.P + p) * g.Q + q + j] = sum[i][j];
  }
}

/// All pixels of output row p for BK channels: tiles of BQ, then single pixels.
template <int BK, int BQ, typename T>
EK_INLINE void correlate_row(Vec<T>* y, const Vec<T>* x, const T* w, const T* bias, const Correlation& g,
                             std::int64_t k, std::int64_t p) {
  std::int64_t q = 0;
  for (; q + BQ <= g.Q; q += BQ) correlate_tile<BK, BQ>(y, x, w, bias, g, k, p, q);
  if (q + 2 <= g.Q) {
    correlate_tile<BK, 2>(y, x, w, bias, g, k, p, q);
    q += 2;
  }
  for (; q < g.Q; ++q) correlate_tile<BK, 1>(y, x, w, bias, g, k, p, q);
}

template <int BK, typename T>
EK_INLINE void correlate_channels(Vec<T>* y, const Vec<T>* x, const T* w, const T* bias, const Correlation& g,
                                  std::int64_t k) {
  for (std::int64_t p = 0; p < g.P; ++p) {
    if (g.Q % 5 == 0) {
      correlate_row<BK, 5>(y, x, w, bias, g, k, p);
    } else {
      correlate_row<BK, 4>(y, x, w, bias, g, k, p);
    }
  }
}

/// One block of images, one group of channels.
template <typename T>
EK_SIMD void correlate_block(Vec<T>* y, const Vec<T>* x, const T* w, const T* bias, const Correlation& g) {
  std::int64_t k = 0;
  for (; k + 4 <= g.K; k += 4) correlate_channels<4>(y, x, w, bias, g, k);
  for (; k + 2 <= g.K; k += 2) correlate_channels<2>(y, x, w, bias, g, k);
  for (; k < g.K; ++k) correlate_channels<1>(y, x, w, bias, g, k);
}

/// dw[k][c][r][s] for BK x BC x BS weights from (k, c, r, s) on, summed over a block of images.
template <int BK, int BC, int BS, typename T>
EK_INLINE void weight_gradient_tile(T* dw, const Vec<T>* dy, const Vec<T>* x, const Correlation& g,
                                    std::int64_t k, std::int64_t c, std::int64_t r, std::int64_t s) {
  Vec<T> sum[BK][BC][BS] = {};
  for (std::int64_t p = 0; p < g.P; ++p) {
    const std::int64_t row = g.row(p, r);
    if (row < 0) continue;
    const Vec<T>* from_dy = dy + (k * g.P + p) * g.Q;
    const Vec<T>* from_x = x + (c * g.H + row) * g.width + s * g.dilation_w;
    for (std::int64_t q = 0; q < g.Q; ++q) {
      Vec<T> grad[BK];
#pragma GCC unroll 8
      for (int i = 0; i < BK; ++i) grad[i] = from_dy[i * g.P * g.Q + q];
#pragma GCC unroll 8
      for (int j = 0; j < BC; ++j) {
#pragma GCC unroll 8
        for (int l = 0; l < BS; ++l) {
          const Vec<T> pixel = from_x[j * g.H * g.width + q * g.stride_w + l * g.dilation_w];
#pragma GCC unroll 8
          for (int i = 0; i < BK; ++i) sum[i][j][l] += grad[i] * pixel;
        }
      }
    }
  }
  for (int i = 0; i < BK; ++i) {
    for (int j = 0; j < BC; ++j) {
      for (int l = 0; l < BS; ++l)
        dw[(((k + i) * g.C + c + j) * g.R + r) * g.S + s + l] += sum_of_lanes<T>(sum[i][j][l]);
    }
  }
}

template <int BK, int BC, typename T>
EK_INLINE void weight_gradient_channels(T* dw, const Vec<T>* dy, const Vec<T>* x, const Correlation& g,
                                        std::int64_t k, std::int64_t c) {
  for (std::int64_t r = 0; r < g.R; ++r) {
    std::int64_t s = 0;
    for (; s + 3 <= g.S; s += 3) weight_gradient_tile<BK, BC, 3>(dw, dy, x, g, k, c, r, s);
    for (; s < g.S; ++s) weight_gradient_tile<BK, BC, 1>(dw, dy, x, g, k, c, r, s);
  }
}

/// Adds one block of images, one group of channels, to dw.
template <typename T>
EK_SIMD void weight_gradient_block(T* dw, const Vec<T>* dy, const Vec<T>* x, const Correlation& g) {
  const auto all_inputs = [&]<int BK>(std::int64_t k) __attribute__((always_inline)) {
    std::int64_t c = 0;
    for (; c + 2 <= g.C; c += 2) weight_gradient_channels<BK, 2>(dw, dy, x, g, k, c);
    for (; c < g.C; ++c) weight_gradient_channels<BK, 1>(dw, dy, x, g, k, c);
  };
  std::int64_t k = 0;
  for (; k + 4 <= g.K; k += 4) all_inputs.template operator()<4>(k);
  for (; k < g.K; ++k) all_inputs.template operator()<1>(k);
}

/// Adds the sum of each of K planes of n pixels to db.
template <typename T>
EK_SIMD void bias_gradient_block(T* db, const Vec<T>* dy, std::int64_t K, std::int64_t n) {
  for (std::int64_t k = 0; k < K; ++k) {
    Vec<T> sum = {};
    for (std::int64_t i = 0; i < n; ++i) sum += dy[k * n + i];
    db[k] += sum_of_lanes<T>(sum);
  }
}

/// Copies `rows` rows of W vectors to rows of `width`: column j goes to j * spread + left; the rest is 0,
/// what falls outside is dropped.
template <typename T>
EK_SIMD void pad_columns(Vec<T>* out, const Vec<T>* in, std::int64_t rows, std::int64_t W, std::int64_t width,
                         std::int64_t left, std::int64_t spread) {
  std::memset(out, 0, static_cast<std::size_t>(rows * width) * sizeof(Vec<T>));
  for (std::int64_t h = 0; h < rows; ++h) {
    for (std::int64_t j = 0; j < W; ++j) {
      const std::int64_t to = j * spread + left;
      if (to >= 0 && to < width) out[h * width + to] = in[h * W + j];
    }
  }
}

/// Images first .. first+count-1 of x [N, C, H, W] in lanes, columns padded. Memory of the calling thread,
/// good until the next call with the same Slot.
template <int Slot, typename T>
Vec<T>* load_block(const T* x, std::int64_t first, std::int64_t count, std::int64_t C, std::int64_t H,
                   std::int64_t W, std::int64_t width, std::int64_t left, std::int64_t spread) {
  static thread_local Scratch<T> dense, padded;
  const std::int64_t size = C * H * W;
  Vec<T>* lanes = dense.get(size);
  to_lanes(lanes, x + first * size, size, size, count);
  if (left == 0 && width == W && spread == 1) return lanes;
  Vec<T>* out = padded.get(C * H * width);
  pad_columns<T>(out, lanes, C * H, W, width, left, spread);
  return out;
}

template <typename T>
std::int64_t block_count(const Conv2dSizes& s) {
  return (s.N + kLanes<T> - 1) / kLanes<T>;
}

/// The multiply-adds of a block, all groups.
template <typename T>
std::int64_t block_cost(const Conv2dSizes& s) {
  return kLanes<T> * s.K * s.P * s.Q * (s.C / s.groups) * s.R * s.S;
}

/// Forward, for one group. Also the geometry of backward_weight.
Correlation forward_correlation(const Conv2dSizes& s) {
  return {.C = s.C / s.groups,
          .H = s.H,
          .width = s.W + 2 * s.pad_w,
          .K = s.K / s.groups,
          .R = s.R,
          .S = s.S,
          .P = s.P,
          .Q = s.Q,
          .stride_h = s.stride_h,
          .stride_w = s.stride_w,
          .dilation_h = s.dilation_h,
          .dilation_w = s.dilation_w,
          .pad_h = s.pad_h,
          .spread_h = 1};
}

/// dx from dy, for one group.
Correlation backward_correlation(const Conv2dSizes& s) {
  return {.C = s.K / s.groups,
          .H = s.P,
          .width = s.W + (s.S - 1) * s.dilation_w,
          .K = s.C / s.groups,
          .R = s.R,
          .S = s.S,
          .P = s.H,
          .Q = s.W,
          .stride_h = 1,
          .stride_w = 1,
          .dilation_h = s.dilation_h,
          .dilation_w = s.dilation_w,
          .pad_h = (s.R - 1) * s.dilation_h - s.pad_h,
          .spread_h = s.stride_h};
}

/// Weights [K, C/g, R, S] as [g][C/g][K/g][R][S] with both kernel axes reversed.
template <typename T>
std::vector<T> flipped_weights(const T* w, const Conv2dSizes& s) {
  const std::int64_t C = s.C / s.groups, K = s.K / s.groups, area = s.R * s.S;
  std::vector<T> out(s.K * C * area);
  for (std::int64_t g = 0; g < s.groups; ++g) {
    for (std::int64_t k = 0; k < K; ++k) {
      for (std::int64_t c = 0; c < C; ++c) {
        for (std::int64_t i = 0; i < area; ++i) {
          out[((g * C + c) * K + k) * area + area - 1 - i] = w[((g * K + k) * C + c) * area + i];
        }
      }
    }
  }
  return out;
}

/// y = correlation of x with w, for every block of images and group; x has planes of g.H x W before padding.
template <typename T>
void correlate_all(T* y, const T* x, const T* w, const T* bias, const Conv2dSizes& s, const Correlation& g,
                   std::int64_t W, std::int64_t left, std::int64_t spread) {
  const std::int64_t channels_in = g.C * s.groups, channels_out = g.K * s.groups, plane = g.P * g.Q;
  parallel_for(block_count<T>(s), block_cost<T>(s), [&](std::int64_t block) {
    static thread_local Scratch<T> scratch;
    const std::int64_t first = block * kLanes<T>, count = std::min<std::int64_t>(kLanes<T>, s.N - first);
    const Vec<T>* from = load_block<0>(x, first, count, channels_in, g.H, W, g.width, left, spread);
    Vec<T>* to = scratch.get(channels_out * plane);
    for (std::int64_t group = 0; group < s.groups; ++group) {
      correlate_block(to + group * g.K * plane, from + group * g.C * g.H * g.width,
                      w + group * g.K * g.C * g.R * g.S, bias != nullptr ? bias + group * g.K : nullptr, g);
    }
    from_lanes(y + first * channels_out * plane, to, channels_out * plane, channels_out * plane, count);
  });
}

}  // namespace

template <typename T>
void conv2d_forward(const Conv2dForwardArgs<T>& a) {
  if (a.format == MemoryFormat::lanes) return lanes::conv2d_forward(a);
  const Conv2dSizes& s = a.sizes;
  if (gemm::prefers_gemm<T>(s)) return gemm::conv2d_forward(a);
  correlate_all(a.y, a.x, a.weight, a.bias, s, forward_correlation(s), s.W, s.pad_w, 1);
}

template <typename T>
void conv2d_backward_input(const Conv2dBackwardInputArgs<T>& a) {
  if (a.format == MemoryFormat::lanes) return lanes::conv2d_backward_input(a);
  const Conv2dSizes& s = a.sizes;
  if (gemm::prefers_gemm<T>(s)) return gemm::conv2d_backward_input(a);
  const std::vector<T> weight = flipped_weights(a.weight, s);
  correlate_all<T>(a.dx, a.dy, weight.data(), nullptr, s, backward_correlation(s), s.Q,
                   (s.S - 1) * s.dilation_w - s.pad_w, s.stride_w);
}

template <typename T>
void conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>& a) {
  if (a.format == MemoryFormat::lanes) return lanes::conv2d_backward_weight(a);
  const Conv2dSizes& s = a.sizes;
  if (gemm::prefers_gemm<T>(s)) return gemm::conv2d_backward_weight(a);
  const Correlation g = forward_correlation(s);
  const std::int64_t weights = s.K * g.C * s.R * s.S,
                     size = weights + s.K;  // of one partial gradient, bias included
  // Two stages, so that the order of additions is fixed: chunks of blocks, each in order, then the chunks in
  // order.
  const std::int64_t blocks = block_count<T>(s), chunks = std::min<std::int64_t>(blocks, 64);
  std::vector<T> partial(chunks * size);
  parallel_for(chunks, block_cost<T>(s), [&](std::int64_t chunk) {
    T* dw = partial.data() + chunk * size;
    for (std::int64_t block = chunk * blocks / chunks; block < (chunk + 1) * blocks / chunks; ++block) {
      const std::int64_t first = block * kLanes<T>, count = std::min<std::int64_t>(kLanes<T>, s.N - first);
      const Vec<T>* x = load_block<0>(a.x, first, count, s.C, s.H, s.W, g.width, s.pad_w, 1);
      const Vec<T>* dy = load_block<1>(a.dy, first, count, s.K, s.P, s.Q, s.Q, 0, 1);
      for (std::int64_t group = 0; group < s.groups; ++group) {
        weight_gradient_block(dw + group * g.K * g.C * s.R * s.S, dy + group * g.K * s.P * s.Q,
                              x + group * g.C * s.H * g.width, g);
      }
      if (a.dbias != nullptr) bias_gradient_block(dw + weights, dy, s.K, s.P * s.Q);
    }
  });
  parallel_for(size, chunks, [&](std::int64_t i) {
    T total = 0;
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) total += partial[chunk * size + i];
    if (i < weights) {
      a.dweight[i] = total;
    } else if (a.dbias != nullptr) {
      a.dbias[i - weights] = total;
    }
  });
}

#define EK_INSTANTIATE(T)                                                 \
  template void conv2d_forward(const Conv2dForwardArgs<T>&);              \
  template void conv2d_backward_input(const Conv2dBackwardInputArgs<T>&); \
  template void conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>&);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cpu
