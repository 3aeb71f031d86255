#include "evenkeel/kernels/cpu/fused/convolution.h"

#include <numeric>

namespace evenkeel::cpu::EK_ISA {
namespace {

// Sums in registers: 4 channels x 5 pixels where there are 32 registers, 4 x 3 where there are 16.
constexpr std::int64_t kPixels = kManyRegisters ? 5 : 3;

/// The outputs of the tile that begins at output k of K: 4, or the next power of two that is left.
constexpr std::int64_t tile_at(std::int64_t k, std::int64_t K) { return K - k >= 4 ? 4 : K - k >= 2 ? 2 : 1; }

/// Column `i` of a row of n, 0 beside it.
template <typename T>
EK_INLINE Register<T> pixel_at(const Register<T>* row, std::int64_t i, std::int64_t n) {
  static const Register<T> zero = {};
  return *(i >= 0 && i < n ? row + i : &zero);
}

/// The taps that an output meets - `first`, first + step, ... - and the input at the first of them; each next
/// tap meets that which lies `move` on. Outputs that lie `spread` apart meet the same taps, at inputs that
/// lie `stride` apart.
struct TapsMet {
  std::int64_t first = 0, step, input, move;

  TapsMet(const Axis& a, std::int64_t output)
      : step(a.spread / std::gcd(a.dilation, a.spread)), move(a.dilation * step / a.spread) {
    const auto place = [&] { return output * a.stride + first * a.dilation - a.pad; };
    while (first < a.taps && place() % a.spread != 0) ++first;
    input = place() / a.spread;
  }
};

/// A tile of BK outputs x BQ pixels of output row p, from output k and pixel q on. S: the taps of a row, if
/// columns are dense; 0: any number of any columns, and the pixels lie `spread` apart. LEFT, RIGHT: how many
/// of the columns that the tile meets lie beside the plane, or -1: any.
template <int BK, int BQ, int S, int LEFT, int RIGHT, typename T>
EK_INLINE void correlate_tile(Register<T>* y, const Register<T>* x, const T* w, const T* bias,
                              const Correlation& g, std::int64_t k, std::int64_t p, std::int64_t q) {
  Register<T> sum[BK][BQ];
#pragma GCC unroll 8
  for (int i = 0; i < BK; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < BQ; ++j) sum[i][j] = broadcast(bias != nullptr ? bias[k + i] : T(0));
  }
  const std::int64_t taps = S > 0 ? S : g.w.taps, plane = g.in_plane, step = g.h.taps * taps * BK;
  const TapsMet met(g.w, q);  // S == 0
  for (std::int64_t r = 0; r < g.h.taps; ++r) {
    const std::int64_t row = g.h.input(p, r);
    if (row < 0) continue;
    const Register<T>* from = x + row * g.w.in;
    const T* weight = w + k * g.filter() + r * taps * BK;
    for (std::int64_t c = 0; c < g.C; ++c, from += plane, weight += step) {
      const auto multiply = [&](std::int64_t s, auto meets, auto load) EK_INLINE_LAMBDA {
        Register<T> pixel[BQ];
#pragma GCC unroll 8
        for (int j = 0; j < BQ; ++j) {
          if (!meets(j)) continue;
          Register<T> value = load(j);
          EK_KEEP_IN_REGISTER(value);
          pixel[j] = value;
        }
#pragma GCC unroll 8
        for (int i = 0; i < BK; ++i) {
          Register<T> factor = broadcast(weight[s * BK + i]);
          if (!kManyRegisters) EK_KEEP_IN_REGISTER(factor);
#pragma GCC unroll 8
          for (int j = 0; j < BQ; ++j) {
            if (meets(j)) sum[i][j] += factor * pixel[j];
          }
        }
      };
      if constexpr (S > 0) {
        const Register<T>* at = from + q - g.w.pad;
#pragma GCC unroll 4
        for (int s = 0; s < S; ++s) {
          if constexpr (LEFT >= 0) {
            multiply(
                s, [=](int j) EK_INLINE_LAMBDA { return j + s >= LEFT && j + s < BQ + S - 1 - RIGHT; },
                [=](int j) EK_INLINE_LAMBDA { return at[j + s]; });
          } else {
            multiply(
                s, [](int) EK_INLINE_LAMBDA { return true; },
                [=](int j) EK_INLINE_LAMBDA { return pixel_at<T>(from, q - g.w.pad + j + s, g.w.in); });
          }
        }
      } else {
        std::int64_t at = met.input;
        for (std::int64_t s = met.first; s < taps; s += met.step, at += met.move) {
          multiply(
              s, [](int) EK_INLINE_LAMBDA { return true; },
              [=](int j) EK_INLINE_LAMBDA { return pixel_at<T>(from, at + j * g.w.stride, g.w.in); });
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < BK; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < BQ; ++j)
      y[(k + i) * g.out_plane + p * g.w.out + q + (S > 0 ? j : j * g.w.spread)] = sum[i][j];
  }
}

/// The same for `width` <= BQ pixels.
template <int BK, int BQ, int S, typename T>
EK_INLINE void correlate_pixels(Register<T>* y, const Register<T>* x, const T* w, const T* bias,
                                const Correlation& g, std::int64_t k, std::int64_t p, std::int64_t q,
                                std::int64_t width) {
  if constexpr (BQ > 1) {
    if (width < BQ) return correlate_pixels<BK, BQ - 1, S>(y, x, w, bias, g, k, p, q, width);
  }
  const std::int64_t left = std::max<std::int64_t>(0, g.w.pad - q),
                     right = std::max<std::int64_t>(0, q - g.w.pad + BQ + S - 1 - g.w.in);
  if (S == 0) return correlate_tile<BK, BQ, S, -1, -1>(y, x, w, bias, g, k, p, q);
  if (left == 0 && right == 0) return correlate_tile<BK, BQ, S, 0, 0>(y, x, w, bias, g, k, p, q);
  if constexpr (S == 3 && BQ > 1 && sizeof(T) == 4) {  // the gradient of the input of a 3 x 3 convolution
    if (left == 2 && right == 0) return correlate_tile<BK, BQ, S, 2, 0>(y, x, w, bias, g, k, p, q);
    if (left == 0 && right == 2) return correlate_tile<BK, BQ, S, 0, 2>(y, x, w, bias, g, k, p, q);
  }
  correlate_tile<BK, BQ, S, -1, -1>(y, x, w, bias, g, k, p, q);
}

/// The pieces of nearly equal width into which a row of Q pixels is cut: the first `longer` have `width` + 1.
struct Pieces {
  std::int64_t count, width, longer;

  explicit Pieces(std::int64_t Q) : count((Q + kPixels - 1) / kPixels), width(Q / count), longer(Q % count) {}
  std::int64_t begin(std::int64_t piece) const { return piece * width + std::min(piece, longer); }
};

/// Pieces [begin, end) of output row p of a tile of BK outputs: of its pixels `phase`, phase + spread, ...
template <int BK, int S, typename T>
void correlate_row(Register<T>* y, const Register<T>* x, const T* w, const T* bias, const Correlation& g,
                   std::int64_t k, std::int64_t p, std::int64_t phase, const Pieces& pieces,
                   std::int64_t begin, std::int64_t end) {
  std::int64_t q = phase + pieces.begin(begin) * g.w.spread;
  for (std::int64_t t = begin; t < end; ++t) {
    const std::int64_t width = pieces.width + (t < pieces.longer);
    correlate_pixels<BK, kPixels, S>(y, x, w, bias, g, k, p, q, width);
    q += width * g.w.spread;
  }
}

/// All outputs of one group: a few pieces of a row for all outputs, so that the inputs come from the
/// first-level cache.
template <int S, typename T>
void correlate_group(Register<T>* y, const Register<T>* x, const T* w, const T* bias, const Correlation& g) {
  constexpr std::int64_t kTogether = 12;
  for (std::int64_t phase = 0; phase < std::min(g.w.spread, g.w.out); ++phase) {
    const Pieces pieces((g.w.out - phase + g.w.spread - 1) / g.w.spread);
    for (std::int64_t p = 0; p < g.h.out; ++p) {
      for (std::int64_t begin = 0; begin < pieces.count; begin += kTogether) {
        const std::int64_t end = std::min(pieces.count, begin + kTogether);
        std::int64_t k = 0;
        for (; k + 4 <= g.K; k += 4) correlate_row<4, S>(y, x, w, bias, g, k, p, phase, pieces, begin, end);
        for (; k + 2 <= g.K; k += 2) correlate_row<2, S>(y, x, w, bias, g, k, p, phase, pieces, begin, end);
        for (; k < g.K; ++k) correlate_row<1, S>(y, x, w, bias, g, k, p, phase, pieces, begin, end);
      }
    }
  }
}

/// A convolution of pixels, as that of one row.
Correlation flattened(Correlation g) {
  if (g.is_of_pixels()) {
    g.w.in = g.w.out = g.h.in * g.w.in;
    g.h.in = g.h.out = 1;
  }
  return g;
}

/// The gradients of BK x BC filters from (k, c) on: BR x BS taps from (r, s) on. PADDED: inputs may be beside
/// the plane.
template <typename T, int BK, int BC, int BR, int BS, bool PADDED>
EK_INLINE void weight_gradient_tile(Register<T>* sums, const Register<T>* dy, const Register<T>* x,
                                    const Correlation& g, std::int64_t k, std::int64_t c, std::int64_t r,
                                    std::int64_t s) {
  const std::int64_t in = g.in_plane, out = g.out_plane, Q = g.w.out, area = g.h.taps * g.w.taps;
  // Whichever are fewer stay in registers, and the others come one by one.
  constexpr bool kKeepsPixels = BC * BS <= BK && BR == 1;
  Register<T> sum[BK][BC][BR][BS] = {};
  for (std::int64_t p = 0; p < g.h.out; ++p) {
    std::int64_t row[BR];
    for (int h = 0; h < BR; ++h) row[h] = g.h.input(p, r + h);
    if (BR == 1 && row[0] < 0) continue;
    const Register<T>* from_dy = dy + k * out + p * Q;
    const Register<T>* from_x = x + c * in;
    for (std::int64_t q = 0; q < Q; ++q, ++from_dy) {
      const auto pixel = [&](int h, int j, int l) EK_INLINE_LAMBDA {
        const std::int64_t at = q * g.w.stride + (s + l) * g.w.dilation - g.w.pad;
        const Register<T>* of_row = from_x + j * in + row[h] * g.w.in;
        Register<T> value = PADDED ? pixel_at<T>(of_row, at, g.w.in) : of_row[at];
        EK_KEEP_IN_REGISTER(value);
        return value;
      };
      if constexpr (kKeepsPixels) {
        Register<T> pixels[BC][BS];
#pragma GCC unroll 4
        for (int l = 0; l < BS; ++l) {
#pragma GCC unroll 4
          for (int j = 0; j < BC; ++j) pixels[j][l] = pixel(0, j, l);
        }
#pragma GCC unroll 4
        for (int i = 0; i < BK; ++i) {
          Register<T> gradient = from_dy[i * out];
          EK_KEEP_IN_REGISTER(gradient);
#pragma GCC unroll 4
          for (int j = 0; j < BC; ++j) {
#pragma GCC unroll 4
            for (int l = 0; l < BS; ++l) sum[i][j][0][l] += gradient * pixels[j][l];
          }
        }
        continue;
      }
      Register<T> gradients[BK];
#pragma GCC unroll 4
      for (int i = 0; i < BK; ++i) {
        Register<T> value = from_dy[i * out];
        EK_KEEP_IN_REGISTER(value);
        gradients[i] = value;
      }
#pragma GCC unroll 4
      for (int h = 0; h < BR; ++h) {
        if (BR > 1 && PADDED && row[h] < 0) continue;
#pragma GCC unroll 4
        for (int l = 0; l < BS; ++l) {
#pragma GCC unroll 4
          for (int j = 0; j < BC; ++j) {
            const Register<T> value = pixel(h, j, l);
#pragma GCC unroll 4
            for (int i = 0; i < BK; ++i) sum[i][j][h][l] += gradients[i] * value;
          }
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < BK; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < BC; ++j) {
#pragma GCC unroll 4
      for (int h = 0; h < BR; ++h) {
#pragma GCC unroll 4
        for (int l = 0; l < BS; ++l) sums[(i * BC + j) * area + (r + h) * g.w.taps + s + l] = sum[i][j][h][l];
      }
    }
  }
}

/// dw of BK x BC filters; dw is that of the group. ALL: of 3 x 3 taps that move by one pixel, all at once.
template <int BK, int BC, bool ALL, bool PADDED, typename T>
void filter_gradients(T* dw, const Register<T>* dy, const Register<T>* x, const Correlation& g,
                      std::int64_t k, std::int64_t c, std::int64_t count) {
  static thread_local Scratch scratch;
  const std::int64_t area = g.h.taps * g.w.taps;
  auto* sums = scratch.get<Register<T>>(2 * BK * BC * area);
  if constexpr (ALL) {
    weight_gradient_tile<T, BK, BC, 3, 3, PADDED>(sums, dy, x, g, k, c, 0, 0);
  } else {
    for (std::int64_t r = 0; r < g.h.taps; ++r) {
      std::int64_t s = 0;
      for (; s + 3 <= g.w.taps; s += 3)
        weight_gradient_tile<T, BK, BC, 1, 3, PADDED>(sums, dy, x, g, k, c, r, s);
      for (; s < g.w.taps; ++s) weight_gradient_tile<T, BK, BC, 1, 1, PADDED>(sums, dy, x, g, k, c, r, s);
    }
  }
  T* total = reinterpret_cast<T*>(sums + BK * BC * area);
  sum_lanes<T>(total, BK * BC * area, count, [=](std::int64_t n) EK_INLINE_LAMBDA { return sums[n]; });
  for (int i = 0; i < BK; ++i)  // BC neighbouring filters
    std::copy_n(total + i * BC * area, BC * area, dw + ((k + i) * g.C + c) * area);
}

/// Adds the sums of BK x BC filters over all pixels.
template <int BK, int BC, typename T>
void add_pixel_tile(Register<T>* sums, const Register<T>* dy, const Register<T>* x, const Correlation& g) {
  Register<T> sum[BK][BC];
  for (int i = 0; i < BK; ++i) {
    for (int j = 0; j < BC; ++j) sum[i][j] = sums[i * g.C + j];
  }
  const std::int64_t pixels = g.h.out * g.w.out;
  for (std::int64_t q = 0; q < pixels; ++q) {
    Register<T> pixel[BC];
#pragma GCC unroll 4
    for (int j = 0; j < BC; ++j) {
      Register<T> value = x[j * g.in_plane + q];
      EK_KEEP_IN_REGISTER(value);
      pixel[j] = value;
    }
#pragma GCC unroll 4
    for (int i = 0; i < BK; ++i) {
      Register<T> gradient = dy[i * g.out_plane + q];
      EK_KEEP_IN_REGISTER(gradient);
#pragma GCC unroll 4
      for (int j = 0; j < BC; ++j) sum[i][j] += gradient * pixel[j];
    }
  }
  for (int i = 0; i < BK; ++i) {
    for (int j = 0; j < BC; ++j) sums[i * g.C + j] = sum[i][j];
  }
}

template <bool PADDED, typename T>
void weight_gradient_of_group(T* dw, const Register<T>* dy, const Register<T>* x, const Correlation& g,
                              std::int64_t count) {
  const auto all_inputs = [&]<int BK, int BC, bool ALL = false>(std::int64_t k) {
    std::int64_t c = 0;
    for (; c + BC <= g.C; c += BC) filter_gradients<BK, BC, ALL, PADDED>(dw, dy, x, g, k, c, count);
    if constexpr (BC > 1) {
      for (; c < g.C; ++c) filter_gradients<BK, 1, ALL, PADDED>(dw, dy, x, g, k, c, count);
    }
  };
  std::int64_t k = 0;
  if constexpr (kManyRegisters) {
    if (g.h.taps == 3 && g.w.taps == 3 && g.h.dense() && g.w.dense()) {  // 27 sums of 32 registers
      for (; k + 3 <= g.K; k += 3) all_inputs.template operator()<3, 1, true>(k);
      for (; k + 2 <= g.K; k += 2) all_inputs.template operator()<2, 1, true>(k);
      for (; k < g.K; ++k) all_inputs.template operator()<1, 1, true>(k);
      return;
    }
  }
  if (g.w.taps >= 3) {  // 24 sums, or 12 of 16 registers
    for (; k + 4 <= g.K; k += 4) all_inputs.template operator()<4, kManyRegisters ? 2 : 1>(k);
  } else {
    for (; k + 4 <= g.K; k += 4) all_inputs.template operator()<4, kManyRegisters ? 4 : 2>(k);
  }
  for (; k + 2 <= g.K; k += 2) all_inputs.template operator()<2, 2>(k);
  for (; k < g.K; ++k) all_inputs.template operator()<1, 2>(k);
}

}  // namespace

Correlation forward_correlation(const Conv2dSizes& s) {
  return {s.groups,
          s.C / s.groups,
          s.K / s.groups,
          {s.H, s.P, s.R, s.stride_h, s.dilation_h, s.pad_h, 1},
          {s.W, s.Q, s.S, s.stride_w, s.dilation_w, s.pad_w, 1}};
}

Correlation backward_correlation(const Conv2dSizes& s) {
  return {s.groups,
          s.K / s.groups,
          s.C / s.groups,
          {s.P, s.H, s.R, 1, s.dilation_h, (s.R - 1) * s.dilation_h - s.pad_h, s.stride_h},
          {s.Q, s.W, s.S, 1, s.dilation_w, (s.S - 1) * s.dilation_w - s.pad_w, s.stride_w}};
}

template <typename T>
void pack_weights(T* out, const T* w, const Correlation& g) {
  const std::int64_t filter = g.filter();
  for (std::int64_t group = 0; group < g.groups; ++group, out += g.K * filter, w += g.K * filter) {
    for (std::int64_t k = 0, tile = 0; k < g.K; k += tile) {
      tile = tile_at(k, g.K);
      for (std::int64_t e = 0; e < filter; ++e) {
        for (std::int64_t i = 0; i < tile; ++i) out[k * filter + e * tile + i] = w[(k + i) * filter + e];
      }
    }
  }
}

template <typename T>
void pack_flipped_weights(T* out, const T* w, const Correlation& g) {
  const std::int64_t area = g.h.taps * g.w.taps, filter = g.K * area;  // of backward
  for (std::int64_t group = 0; group < g.groups; ++group, out += g.C * filter, w += g.C * filter) {
    for (std::int64_t c = 0, tile = 0; c < g.C; c += tile) {
      tile = tile_at(c, g.C);
      for (std::int64_t k = 0; k < g.K; ++k) {
        for (std::int64_t t = 0; t < area; ++t) {
          for (std::int64_t i = 0; i < tile; ++i)
            out[c * filter + (k * area + area - 1 - t) * tile + i] = w[(k * g.C + c + i) * area + t];
        }
      }
    }
  }
}

template <typename T>
void correlate(Register<T>* y, const Register<T>* x, const T* w, const T* bias, const Correlation& of) {
  const Correlation g = flattened(of);
  for (std::int64_t group = 0; group < g.groups; ++group) {
    Register<T>* out = y + group * g.K * g.out_plane;
    const Register<T>* in = x + group * g.C * g.in_plane;
    const T* weight = w + group * g.K * g.filter();
    const T* b = bias != nullptr ? bias + group * g.K : nullptr;
    if (g.w.dense() && g.w.taps == 3) {
      correlate_group<3>(out, in, weight, b, g);
    } else if (g.w.dense() && g.w.taps == 1) {
      correlate_group<1>(out, in, weight, b, g);
    } else {
      correlate_group<0>(out, in, weight, b, g);
    }
  }
}

template <typename T>
void add_pixel_weight_gradients(Register<T>* sums, const Register<T>* dy, const Register<T>* x,
                                const Correlation& g) {
  const auto all_inputs = [&]<int BK>(std::int64_t k) {
    constexpr int BC = kManyRegisters ? 4 : 2;
    const Register<T>* from = dy + k * g.out_plane;
    std::int64_t c = 0;
    for (; c + BC <= g.C; c += BC) add_pixel_tile<BK, BC, T>(sums + k * g.C + c, from, x + c * g.in_plane, g);
    for (; c < g.C; ++c) add_pixel_tile<BK, 1, T>(sums + k * g.C + c, from, x + c * g.in_plane, g);
  };
  std::int64_t k = 0;
  for (; k + 4 <= g.K; k += 4) all_inputs.template operator()<4>(k);
  for (; k < g.K; ++k) all_inputs.template operator()<1>(k);
}

template <typename T>
void weight_gradient(T* dw, const Register<T>* dy, const Register<T>* x, const Correlation& of,
                     std::int64_t count) {
  const Correlation g = flattened(of);
  if (g.is_of_pixels() && g.groups == 1) {
    static thread_local Scratch scratch;
    auto* sums = scratch.get<Register<T>>(g.K * g.C);
    std::fill_n(sums, g.K * g.C, Register<T>{});
    add_pixel_weight_gradients<T>(sums, dy, x, g);
    return sum_lanes<T>(dw, g.K * g.C, count, [=](std::int64_t i) EK_INLINE_LAMBDA { return sums[i]; });
  }
  for (std::int64_t group = 0; group < g.groups; ++group) {
    T* out = dw + group * g.K * g.filter();
    const Register<T>* from_dy = dy + group * g.K * g.out_plane;
    const Register<T>* from_x = x + group * g.C * g.in_plane;
    if (g.h.pad > 0 || g.w.pad > 0) {
      weight_gradient_of_group<true>(out, from_dy, from_x, g, count);
    } else {
      weight_gradient_of_group<false>(out, from_dy, from_x, g, count);
    }
  }
}

#define EK_INSTANTIATE(T)                                                                            \
  template void pack_weights(T*, const T*, const Correlation&);                                      \
  template void pack_flipped_weights(T*, const T*, const Correlation&);                              \
  template void correlate(Register<T>*, const Register<T>*, const T*, const T*, const Correlation&); \
  template void add_pixel_weight_gradients<T>(Register<T>*, const Register<T>*, const Register<T>*,  \
                                              const Correlation&);                                   \
  template void weight_gradient(T*, const Register<T>*, const Register<T>*, const Correlation&, std::int64_t);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cpu::EK_ISA
