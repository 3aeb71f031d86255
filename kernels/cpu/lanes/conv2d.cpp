// Direct convolution of MemoryFormat::lanes. One kernel, correlate_rows, serves forward and
// backward_input, which is the correlation of dy, spread by the stride, with the flipped weights;
// backward_weight has its own. Tasks are rows, and tiles of channels, of a block of images; what each
// computes does not depend on how they are shared out.
#include "evenkeel/kernels/conv2d.h"

#include "evenkeel/kernels/cpu/lanes.h"
#include "evenkeel/kernels/cpu/lanes/ops.h"
#include "evenkeel/kernels/cpu/parallel.h"

namespace evenkeel::cpu::EK_ISA::lanes {
namespace {

/// One axis of a correlation: output o, tap t meets input (o * stride + t * dilation - pad) / spread, where
/// that is a whole number in [0, in).
struct Axis {
  std::int64_t in, out, taps, stride, dilation, pad, spread;

  /// The input that output o meets at tap t, or -1.
  std::int64_t input(std::int64_t o, std::int64_t t) const {
    const std::int64_t at = o * stride + t * dilation - pad;
    return at >= 0 && at % spread == 0 && at / spread < in ? at / spread : -1;
  }
  /// True if neighbouring outputs and neighbouring taps meet neighbouring inputs.
  bool dense() const { return stride == 1 && dilation == 1 && spread == 1; }
};

/// y[k][p][q] = bias[k] + sum over r,c,s of w[k][c][r][s] * x[c][h.input(p, r)][w.input(q, s)], one group.
struct Correlation {
  std::int64_t C, K;
  Axis h, w;
  std::int64_t filter() const { return C * h.taps * w.taps; }
};

/// One tile of BK output channels x BQ pixels of output row p, from channel k and pixel q on: accumulators in
/// registers. S: taps of a row, all loaded at once, if the columns are dense; 0: any number of any columns.
/// INSIDE: with S > 0, no tap is off the plane.
template <int BK, int BQ, int S, bool INSIDE, typename T>
EK_INLINE void correlate_tile(Column<T> y, Column<const T> x, const T* w, const T* bias, const Correlation& g,
                              std::int64_t k, std::int64_t p, std::int64_t q) {
  Register<T> sum[BK][BQ];
  for (int i = 0; i < BK; ++i) {
    for (int j = 0; j < BQ; ++j) sum[i][j] = Register<T>{} + (bias != nullptr ? bias[k + i] : T(0));
  }
  static const Register<T> zero = {};
  const std::int64_t filter = g.filter();
  for (std::int64_t r = 0; r < g.h.taps; ++r) {
    const std::int64_t row = g.h.input(p, r);
    if (row < 0) continue;
    for (std::int64_t c = 0; c < g.C; ++c) {
      const Column<const T> from = x + (c * g.h.in + row) * g.w.in;
      const T* weight = w + k * filter + (c * g.h.taps + r) * g.w.taps;
      if constexpr (S > 0) {
        Register<T> pixel[BQ + S - 1];
#pragma GCC unroll 8
        for (int j = 0; j < BQ + S - 1; ++j) {
          const std::int64_t column = q + j - g.w.pad;
          pixel[j] = *(INSIDE || (column >= 0 && column < g.w.in) ? &from[column] : &zero);
        }
#pragma GCC unroll 4
        for (int s = 0; s < S; ++s) {
#pragma GCC unroll 8
          for (int i = 0; i < BK; ++i) {
#pragma GCC unroll 8
            for (int j = 0; j < BQ; ++j) sum[i][j] += weight[i * filter + s] * pixel[j + s];
          }
        }
      } else {
        for (std::int64_t s = 0; s < g.w.taps; ++s) {
          Register<T> pixel[BQ];
#pragma GCC unroll 8
          for (int j = 0; j < BQ; ++j) {
            const std::int64_t column = g.w.input(q + j, s);
            pixel[j] = *(column >= 0 ? &from[column] : &zero);
          }
#pragma GCC unroll 8
          for (int i = 0; i < BK; ++i) {
#pragma GCC unroll 8
            for (int j = 0; j < BQ; ++j) sum[i][j] += weight[i * filter + s] * pixel[j];
          }
        }
      }
    }
  }
  for (int i = 0; i < BK; ++i) {
    for (int j = 0; j < BQ; ++j) y[((k + i) * g.h.out + p) * g.w.out + q + j] = sum[i][j];
  }
}

/// Likewise, of `width` <= BQ pixels.
template <int BK, int BQ, int S, typename T>
EK_INLINE void correlate_pixels(Column<T> y, Column<const T> x, const T* w, const T* bias,
                                const Correlation& g, std::int64_t k, std::int64_t p, std::int64_t q,
                                std::int64_t width) {
  if constexpr (BQ > 1) {
    if (width < BQ) return correlate_pixels<BK, BQ - 1, S>(y, x, w, bias, g, k, p, q, width);
  }
  const std::int64_t first = q - g.w.pad;
  if (S > 0 && first >= 0 && first + BQ + S - 1 <= g.w.in) {
    correlate_tile<BK, BQ, S, true>(y, x, w, bias, g, k, p, q);
  } else {
    correlate_tile<BK, BQ, S, false>(y, x, w, bias, g, k, p, q);
  }
}

/// Output row p of BK channels, cut into tiles of nearly equal width, of BQ pixels at most.
template <int BK, int BQ, int S, typename T>
EK_INLINE void correlate_row(Column<T> y, Column<const T> x, const T* w, const T* bias, const Correlation& g,
                             std::int64_t k, std::int64_t p) {
  const std::int64_t Q = g.w.out, tiles = (Q + BQ - 1) / BQ;
  for (std::int64_t t = 0; t < tiles; ++t) {
    const std::int64_t q = t * Q / tiles;
    correlate_pixels<BK, BQ, S>(y, x, w, bias, g, k, p, q, (t + 1) * Q / tiles - q);
  }
}

/// Output row p of all channels: 20 sums where there are 32 vector registers, 8 where there are 16.
template <int S, typename T>
EK_INLINE void correlate_channels(Column<T> y, Column<const T> x, const T* w, const T* bias,
                                  const Correlation& g, std::int64_t p) {
  constexpr int BQ = kManyRegisters ? 5 : 4;
  std::int64_t k = 0;
  if constexpr (kManyRegisters) {
    for (; k + 4 <= g.K; k += 4) correlate_row<4, BQ, S>(y, x, w, bias, g, k, p);
  }
  for (; k + 2 <= g.K; k += 2) correlate_row<2, BQ, S>(y, x, w, bias, g, k, p);
  for (; k < g.K; ++k) correlate_row<1, BQ, S>(y, x, w, bias, g, k, p);
}

/// Output row p of one block of images, one group of channels.
template <typename T>
void correlate(Column<T> y, Column<const T> x, const T* w, const T* bias, const Correlation& g,
               std::int64_t p) {
  if (g.w.dense() && g.w.taps == 3) {
    correlate_channels<3>(y, x, w, bias, g, p);
  } else if (g.w.dense() && g.w.taps == 1) {
    correlate_channels<1>(y, x, w, bias, g, p);
  } else {
    correlate_channels<0>(y, x, w, bias, g, p);
  }
}

/// The sums of the lanes of BK x BC x BS weight gradients from (k, c, r, s) on, over a block's first `count`
/// images. PADDED: columns may be off the plane.
template <int BK, int BC, int BS, bool PADDED, typename T>
EK_INLINE void weight_gradient_tile(T* dw, const T* dy, const T* x, const Correlation& g, std::int64_t k,
                                    std::int64_t c, std::int64_t r, std::int64_t s, std::int64_t count) {
  const std::int64_t plane = g.h.in * g.w.in, Q = g.w.out;
  Vec<T> lanes[BK * BC * BS];
  for (int part = 0; part < kParts; ++part) {
    Register<T> sum[BK][BC][BS] = {};
    for (std::int64_t p = 0; p < g.h.out; ++p) {
      const std::int64_t row = g.h.input(p, r);
      if (row < 0) continue;
      const auto from_dy = column(dy, part) + (k * g.h.out + p) * Q;
      const auto from_x = column(x, part) + (c * g.h.in + row) * g.w.in;
      for (std::int64_t q = 0; q < Q; ++q) {
        Register<T> grad[BK];
#pragma GCC unroll 8
        for (int i = 0; i < BK; ++i) grad[i] = from_dy[i * g.h.out * Q + q];
#pragma GCC unroll 4
        for (int l = 0; l < BS; ++l) {
          const std::int64_t at = q * g.w.stride + (s + l) * g.w.dilation - g.w.pad;
          if (PADDED && (at < 0 || at >= g.w.in)) continue;
#pragma GCC unroll 8
          for (int j = 0; j < BC; ++j) {
            const Register<T> pixel = from_x[j * plane + at];
#pragma GCC unroll 8
            for (int i = 0; i < BK; ++i) sum[i][j][l] += grad[i] * pixel;
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < BK; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < BC; ++j) {
#pragma GCC unroll 4
        for (int l = 0; l < BS; ++l)
          column(reinterpret_cast<T*>(lanes), part)[(i * BC + j) * BS + l] = sum[i][j][l];
      }
    }
  }
  T total[BK * BC * BS];
  sums_of_lanes<BK * BC * BS, T>(total, lanes, count);
  for (int i = 0; i < BK; ++i) {
    for (int j = 0; j < BC; ++j) {
      for (int l = 0; l < BS; ++l)
        dw[(((k + i) * g.C + c + j) * g.h.taps + r) * g.w.taps + s + l] = total[(i * BC + j) * BS + l];
    }
  }
}

template <int BK, int BC, bool PADDED, typename T>
EK_INLINE void weight_gradient_channels(T* dw, const T* dy, const T* x, const Correlation& g, std::int64_t k,
                                        std::int64_t c, std::int64_t count) {
  for (std::int64_t r = 0; r < g.h.taps; ++r) {
    std::int64_t s = 0;
    for (; s + 3 <= g.w.taps; s += 3)
      weight_gradient_tile<BK, BC, 3, PADDED>(dw, dy, x, g, k, c, r, s, count);
    for (; s < g.w.taps; ++s) weight_gradient_tile<BK, BC, 1, PADDED>(dw, dy, x, g, k, c, r, s, count);
  }
}

constexpr std::int64_t kTile = 4;  // output channels of a task of backward_weight

/// dw[k][c][r][s] of output channels k .. k+kTile-1 (fewer at the end), summed over one block of images.
template <bool PADDED, typename T>
void weight_gradient(T* dw, const T* dy, const T* x, const Correlation& g, std::int64_t k,
                     std::int64_t count) {
  const auto all_inputs = [&]<int BK, int BC>(std::int64_t first) __attribute__((always_inline)) {
    std::int64_t c = 0;
    for (; c + BC <= g.C; c += BC) weight_gradient_channels<BK, BC, PADDED>(dw, dy, x, g, first, c, count);
    for (; c < g.C; ++c) weight_gradient_channels<BK, 1, PADDED>(dw, dy, x, g, first, c, count);
  };
  const std::int64_t end = std::min(k + kTile, g.K);
  if (k + 4 <= end) {  // 24 sums where there are 32 vector registers, 12 where there are 16
    if (g.w.taps >= 3) {
      all_inputs.template operator()<4, kManyRegisters ? 2 : 1>(k);
    } else {
      all_inputs.template operator()<4, kManyRegisters ? 4 : 2>(k);
    }
    return;
  }
  for (; k + 2 <= end; k += 2) all_inputs.template operator()<2, 1>(k);
  for (; k < end; ++k) all_inputs.template operator()<1, 1>(k);
}

/// The sum of a plane of n pixels over the first `count` images of a block.
template <typename T>
T bias_gradient(const T* dy, std::int64_t n, std::int64_t count) {
  Vec<T> lanes;
  for (int part = 0; part < kParts; ++part) {
    Register<T> sum = {};
    for (std::int64_t i = 0; i < n; ++i) sum += column(dy, part)[i];
    column(reinterpret_cast<T*>(&lanes), part)[0] = sum;
  }
  return sum_of_lanes<T>(lanes, count);
}

/// The multiply-adds of a block, all groups.
template <typename T>
std::int64_t block_cost(const Conv2dSizes& s) {
  return kLanes<T> * s.K * s.P * s.Q * (s.C / s.groups) * s.R * s.S;
}

/// Forward, for one group. Also the geometry of backward_weight.
Correlation forward_correlation(const Conv2dSizes& s) {
  return {s.C / s.groups,
          s.K / s.groups,
          {s.H, s.P, s.R, s.stride_h, s.dilation_h, s.pad_h, 1},
          {s.W, s.Q, s.S, s.stride_w, s.dilation_w, s.pad_w, 1}};
}

/// dx from dy, for one group.
Correlation backward_correlation(const Conv2dSizes& s) {
  return {s.K / s.groups,
          s.C / s.groups,
          {s.P, s.H, s.R, 1, s.dilation_h, (s.R - 1) * s.dilation_h - s.pad_h, s.stride_h},
          {s.Q, s.W, s.S, 1, s.dilation_w, (s.S - 1) * s.dilation_w - s.pad_w, s.stride_w}};
}

/// Weights [K, C/g, R, S] as [g][C/g][K/g][R][S] with both kernel axes reversed.
template <typename T>
void flip_weights(T* out, const T* w, const Conv2dSizes& s) {
  const std::int64_t C = s.C / s.groups, K = s.K / s.groups, area = s.R * s.S;
  for (std::int64_t g = 0; g < s.groups; ++g) {
    for (std::int64_t k = 0; k < K; ++k) {
      for (std::int64_t c = 0; c < C; ++c) {
        for (std::int64_t i = 0; i < area; ++i) {
          out[((g * C + c) * K + k) * area + area - 1 - i] = w[((g * K + k) * C + c) * area + i];
        }
      }
    }
  }
}

/// y = correlation of x with w, for every block of images, row and group.
template <typename T>
void correlate_all(T* y, const T* x, const T* w, const T* bias, const Conv2dSizes& s, const Correlation& g) {
  const std::int64_t rows = g.h.out, in = g.C * g.h.in * g.w.in, out = g.K * rows * g.w.out;  // of a group
  parallel_for(
      lane_blocks<T>(s.N) * rows, block_cost<T>(s) / std::max<std::int64_t>(rows, 1), [&](std::int64_t i) {
        const std::int64_t block = i / rows;
        for (std::int64_t group = 0; group < s.groups; ++group) {
          const std::int64_t at = block * s.groups + group;
          for (int part = 0; part < kParts; ++part)
            correlate(column(y, part) + at * out, column(x, part) + at * in, w + group * g.K * g.filter(),
                      bias != nullptr ? bias + group * g.K : nullptr, g, i % rows);
        }
      });
}

}  // namespace

template <typename T>
void conv2d_forward(const Conv2dForwardArgs<T>& a) {
  correlate_all(a.y, a.x, a.weight, a.bias, a.sizes, forward_correlation(a.sizes));
}

template <typename T>
void conv2d_backward_input(const Conv2dBackwardInputArgs<T>& a) {
  const Conv2dSizes& s = a.sizes;
  static thread_local Scratch scratch;
  T* weight = scratch.get<T>(s.K * (s.C / s.groups) * s.R * s.S);
  flip_weights(weight, a.weight, s);
  correlate_all<T>(a.dx, a.dy, weight, nullptr, s, backward_correlation(s));
}

template <typename T>
void conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>& a) {
  const Conv2dSizes& s = a.sizes;
  const Correlation g = forward_correlation(s);
  const std::int64_t weights = g.K * g.filter(), size = s.groups * weights + s.K;  // of a block: dw, then db
  const std::int64_t tiles = (g.K + kTile - 1) / kTile, tasks = tiles * s.groups;  // of a block
  const std::int64_t blocks = lane_blocks<T>(s.N);
  // Each block has its own sums, which are then added in order: the order of additions is fixed.
  static thread_local Scratch scratch;
  T* partial = scratch.get<T>(blocks * size);
  parallel_for(blocks * tasks, block_cost<T>(s) / std::max<std::int64_t>(tasks, 1), [&](std::int64_t i) {
    const std::int64_t block = i / tasks, group = i % tasks / tiles, k = i % tiles * kTile;
    const std::int64_t count = images_of_block<T>(s.N, block);
    const std::int64_t plane = s.P * s.Q;
    T* dw = partial + block * size;
    const T* dy = a.dy + (block * s.groups + group) * g.K * plane * kLanes<T>;
    const T* x = a.x + (block * s.groups + group) * g.C * s.H * s.W * kLanes<T>;
    if (s.pad_w > 0) {
      weight_gradient<true>(dw + group * weights, dy, x, g, k, count);
    } else {
      weight_gradient<false>(dw + group * weights, dy, x, g, k, count);
    }
    for (std::int64_t c = k; a.dbias != nullptr && c < std::min(k + kTile, g.K); ++c) {
      dw[s.groups * weights + group * g.K + c] = bias_gradient<T>(dy + c * plane * kLanes<T>, plane, count);
    }
  });
  for (std::int64_t i = 0; i < size; ++i) {
    const bool is_bias = i >= s.groups * weights;
    if (is_bias && a.dbias == nullptr) break;
    T total = 0;
    for (std::int64_t block = 0; block < blocks; ++block) total += partial[block * size + i];
    (is_bias ? a.dbias[i - s.groups * weights] : a.dweight[i]) = total;
  }
}

#define EK_INSTANTIATE(T)                                                 \
  template void conv2d_forward(const Conv2dForwardArgs<T>&);              \
  template void conv2d_backward_input(const Conv2dBackwardInputArgs<T>&); \
  template void conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>&);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cpu::EK_ISA::lanes
