// Forward and the gradient of the input: weights [M, C taps] times im2col(x) [C taps, pixels].
//
// x is copied, padded, so that its rows follow one another at a fixed pitch; with a stride, each residue of
// the row and column number is a plane of its own. Then tap (r, s) of channel c is a run of the copy at a
// fixed distance from the pixel of y, for all pixels at once: a row of im2col(x). At the end of each row of y
// the product has a few columns too many.
#include "evenkeel/kernels/cpu/conv2d_gemm.h"

#include "evenkeel/kernels/cpu/parallel.h"

namespace evenkeel::cpu::EK_ISA::gemm {
namespace {

std::int64_t floor_div(std::int64_t a, std::int64_t b) { return a >= 0 ? a / b : -ceil_div(-a, b); }

/// One axis of a correlation: place i of `out` meets tap r at place i * stride + at(r) of x, or, if
/// `divides`, at (i * stride + at(r)) / stride where that is whole.
struct Axis {
  std::int64_t in, out, taps, start, step, stride;
  bool divides = false;
  std::int64_t out_start = 0, out_step = 1;  // place i is written to i * out_step + out_start of y

  std::int64_t at(std::int64_t r) const { return start + r * step; }
  bool uses(std::int64_t r) const { return !divides || at(r) % stride == 0; }
  /// Tap r meets place i + shift(r) of plane phase(r), and plane p holds the places p, p + phases(), ... of
  /// x.
  std::int64_t shift(std::int64_t r) const { return floor_div(at(r), stride); }
  std::int64_t phase(std::int64_t r) const { return at(r) - shift(r) * stride; }
  std::int64_t phases() const { return divides ? 1 : stride; }
  std::int64_t plane_size(std::int64_t p) const {
    return ceil_div(std::max<std::int64_t>(0, in - p), phases());
  }

  std::int64_t used_taps() const {
    std::int64_t count = 0;
    for (std::int64_t r = 0; r < taps; ++r) count += uses(r);
    return count;
  }
  std::int64_t least_shift() const { return extreme_shift(-1); }
  /// The distance from the least shift to the greatest.
  std::int64_t span() const { return extreme_shift(1) - extreme_shift(-1); }

 private:
  std::int64_t extreme_shift(std::int64_t sign) const {
    bool found = false;
    std::int64_t extreme = 0;
    for (std::int64_t r = 0; r < taps; ++r) {
      if (!uses(r) || (found && sign * shift(r) <= sign * extreme)) continue;
      extreme = shift(r);
      found = true;
    }
    return extreme;
  }
};

/// y[n][m] = bias[m] + sum over c and taps of weight * x[n][c], for each group of M filters and C channels.
template <typename T>
struct Correlation {
  T* y;
  const T* x;
  const T* weight;  // tap (r, s) of filter m and channel c at m * weight_m + c * weight_c + r * w.taps + s
  const T* bias;    // or null
  std::int64_t N, C, M, groups, weight_m, weight_c;
  Axis h, w;
  std::int64_t y_rows, y_cols;  // of a plane of y

  std::int64_t K() const { return C * h.used_taps() * w.used_taps(); }
  /// Calls f(k, c, r, s) for each row k of im2col(x).
  template <typename F>
  void for_each_row(const F& f) const {
    std::int64_t k = 0;
    for (std::int64_t c = 0; c < C; ++c) {
      for (std::int64_t r = 0; r < h.taps; ++r) {
        for (std::int64_t s = 0; s < w.taps; ++s) {
          if (h.uses(r) && w.uses(s)) f(k++, c, r, s);
        }
      }
    }
  }
};

/// One axis of the padded copy: zeros, the places of x from `first` on, zeros. What follows comes after
/// `pitch`: the zeros before it are also the last of the zeros that belong here, `shared` of them.
struct Padding {
  std::int64_t before, first, pitch, shared;

  /// The padding for `out` places of y.
  Padding(const Axis& axis, std::int64_t out) {
    before = std::max<std::int64_t>(0, -axis.least_shift());
    first = before + axis.least_shift();
    const std::int64_t data = std::max<std::int64_t>(0, axis.plane_size(0) - first), all = out + axis.span();
    shared = std::clamp<std::int64_t>(all - before - data, 0, before);
    pitch = all - shared;
  }
  /// How many places of x there are in plane p.
  std::int64_t data(const Axis& axis, std::int64_t p) const {
    return std::min(axis.plane_size(p) - first, pitch - before);
  }
};

/// The padded copy of one part, one group: [C][h.phases()][w.phases()] planes of rows of all images.
struct Layout {
  Padding cols;
  std::int64_t image_rows, plane;

  template <typename T>
  Layout(const Correlation<T>& g, const Parts& parts) : cols(g.w, g.w.out) {
    const Padding rows(g.h, g.h.out);
    image_rows = parts.row_parts == 1 ? rows.pitch : parts.rows + g.h.span();
    const std::int64_t all = parts.images * image_rows + (parts.row_parts == 1 ? rows.shared : 0);
    // An odd number of cache lines, so that the planes do not all begin in the same sets of the cache.
    plane = (ceil_div(all * cols.pitch + cols.shared, kLanes<T>) | 1) * kLanes<T>;
  }
};

/// The padded copy of a part of x, channels from `first` on.
template <typename T>
void copy_padded(T* out, const Correlation<T>& g, const Layout& at, const Part& part, std::int64_t first) {
  const std::int64_t first_place = part.first_row + g.h.least_shift();
  for (std::int64_t c = 0; c < g.C; ++c) {
    for (std::int64_t phase = 0; phase < g.h.phases() * g.w.phases(); ++phase, out += at.plane) {
      const std::int64_t row_phase = phase / g.w.phases(), col_phase = phase % g.w.phases(),
                         step = g.w.phases();
      const std::int64_t cols = at.cols.data(g.w, col_phase);
      std::memset(out, 0, static_cast<std::size_t>(at.plane) * sizeof(T));
      for (std::int64_t i = 0; i < part.images * at.image_rows && cols > 0; ++i) {
        const std::int64_t n = part.first_image + i / at.image_rows;
        const std::int64_t place = first_place + i % at.image_rows;
        if (place < 0 || place >= g.h.plane_size(row_phase)) continue;
        const T* from =
            g.x + ((n * g.C * g.groups + first + c) * g.h.in + place * g.h.phases() + row_phase) * g.w.in +
            at.cols.first * step + col_phase;
        T* to = out + i * at.cols.pitch + at.cols.before;
        if (step == 1) {
          std::memcpy(to, from, static_cast<std::size_t>(cols) * sizeof(T));
        } else {
          for (std::int64_t j = 0; j < cols; ++j) to[j] = from[j * step];
        }
      }
    }
  }
}

/// The product's columns that are pixels of y, with the bias, to their places; filters m .. m+count-1.
template <typename T>
void store(const Correlation<T>& g, const Layout& at, const Part& part, const T* c, std::int64_t c_stride,
           std::int64_t m, std::int64_t count) {
  for (std::int64_t i = 0; i < part.images; ++i) {
    for (std::int64_t j = 0; j < count; ++j) {
      const T bias = g.bias != nullptr ? g.bias[m + j] : T(0);
      T* plane = g.y + ((part.first_image + i) * g.M * g.groups + m + j) * g.y_rows * g.y_cols;
      for (std::int64_t p = 0; p < part.rows; ++p) {
        const T* from = c + j * c_stride + (i * at.image_rows + p) * at.cols.pitch;
        T* to = plane + ((part.first_row + p) * g.h.out_step + g.h.out_start) * g.y_cols + g.w.out_start;
        if (g.w.out_step == 1) {
          for (std::int64_t q = 0; q < g.w.out; ++q) to[q] = from[q] + bias;
        } else {
          for (std::int64_t q = 0; q < g.w.out; ++q) to[q * g.w.out_step] = from[q] + bias;
        }
      }
    }
  }
}

/// Weights as the left operand of multiply: [groups] times its panels.
template <typename T>
void pack_weights(T* out, std::int64_t group_size, const Correlation<T>& g) {
  const std::int64_t K = g.K(), panels = ceil_div(g.M, kTileRows);
  const bool dense = g.weight_c == g.h.taps * g.w.taps && K == g.C * g.weight_c;  // k is their last axis
  parallel_for(g.groups * panels, K * kTileRows, [&](std::int64_t index) {
    const std::int64_t group = index / panels, m = index % panels * kTileRows;
    const std::int64_t count = std::min(kTileRows, g.M - m);
    T* panel = out + group * group_size + m * K;
    const T* from = g.weight + group * g.M * g.C * g.h.taps * g.w.taps + m * g.weight_m;
    if (dense) return pack<kTileRows>(panel, K * kTileRows, from, g.weight_m, 1, count, K);
    g.for_each_row([&](std::int64_t k, std::int64_t c, std::int64_t r, std::int64_t s) {
      for (std::int64_t i = 0; i < count; ++i) {
        panel[k * kTileRows + i] = from[i * g.weight_m + c * g.weight_c + r * g.w.taps + s];
      }
    });
  });
}

template <typename T>
void correlate(const Correlation<T>& g) {
  static thread_local Scratch packed, offsets;
  const std::int64_t K = g.K(), phases = g.h.phases() * g.w.phases();
  // The copy and the product of a part should stay in the second-level cache: 512 KiB.
  const std::int64_t most = std::max<std::int64_t>(
      4 * kTileCols<T>, (1 << 19) / static_cast<std::int64_t>(sizeof(T)) / (g.C * phases + g.M + 1));
  const Parts parts(g.N, g.h.out, g.w.out + g.w.span(), g.h.span(), most);
  const Layout at(g, parts);
  // Few parts: their filters are shared out too.
  constexpr std::int64_t kFew = 8;
  const std::int64_t shares = std::clamp<std::int64_t>(kFew / std::max<std::int64_t>(1, parts.count()), 1,
                                                       std::max<std::int64_t>(1, g.M / 32));
  const std::int64_t share = round_up(ceil_div(g.M, shares), kTileRows);
  const std::int64_t group_size = round_up(g.M, kTileRows) * K;
  T* a = packed.get<T>(g.groups * group_size);
  pack_weights(a, group_size, g);
  std::int64_t* const offset = offsets.get<std::int64_t>(K);
  g.for_each_row([&](std::int64_t k, std::int64_t c, std::int64_t r, std::int64_t s) {
    const std::int64_t plane = (c * g.h.phases() + g.h.phase(r)) * g.w.phases() + g.w.phase(s);
    offset[k] = plane * at.plane + (g.h.shift(r) - g.h.least_shift()) * at.cols.pitch + g.w.shift(s) -
                g.w.least_shift();
  });
  const std::int64_t cost = parts.images * parts.rows * at.cols.pitch * share * K * g.groups;
  parallel_for(parts.count() * shares, cost, [&](std::int64_t task) {
    static thread_local Scratch copy, product;
    const Part part(parts, task / shares, g.N, g.h.out);
    const std::int64_t m = task % shares * share, rows = std::min(share, g.M - m);
    if (rows <= 0) return;
    const std::int64_t pixels = ((part.images - 1) * at.image_rows + part.rows - 1) * at.cols.pitch + g.w.out;
    const std::int64_t c_stride = round_up(pixels, kTileCols<T>) + kLanes<T>;
    T* x = copy.get<T>(g.C * phases * at.plane + at.plane + kTileCols<T>);
    T* c = product.get<T>(rows * c_stride);
    for (std::int64_t group = 0; group < g.groups; ++group) {
      copy_padded(x, g, at, part, group * g.C);
      std::int64_t k = 0;
      do {
        multiply<T>({c, c_stride, a + group * group_size + m * K + k * kTileRows, K * kTileRows, x,
                     kTileCols<T>, offset + k, rows, pixels, std::min(kChunk<T>, K - k), k > 0});
        k += kChunk<T>;
      } while (k < K);
      store(g, at, part, c, c_stride, group * g.M + m, rows);
    }
  });
}

}  // namespace

template <typename T>
void conv2d_forward(const Conv2dForwardArgs<T>& a) {
  const Conv2dSizes& s = a.sizes;
  const std::int64_t C = s.C / s.groups;
  correlate<T>({a.y,
                a.x,
                a.weight,
                a.bias,
                s.N,
                C,
                s.K / s.groups,
                s.groups,
                C * s.R * s.S,
                s.R * s.S,
                {s.H, s.P, s.R, -s.pad_h, s.dilation_h, s.stride_h},
                {s.W, s.Q, s.S, -s.pad_w, s.dilation_w, s.stride_w},
                s.P,
                s.Q});
}

/// Pixels of dx whose row and column numbers leave the same remainders by the stride meet the same taps: each
/// pair of remainders is a correlation of dy of its own, without zeros between the pixels of dy.
template <typename T>
void conv2d_backward_input(const Conv2dBackwardInputArgs<T>& a) {
  const Conv2dSizes& s = a.sizes;
  const std::int64_t C = s.C / s.groups;
  for (std::int64_t i = 0; i < std::min(s.stride_h, s.H); ++i) {
    for (std::int64_t j = 0; j < std::min(s.stride_w, s.W); ++j) {
      correlate<T>({a.dx,
                    a.dy,
                    a.weight,
                    nullptr,
                    s.N,
                    s.K / s.groups,
                    C,
                    s.groups,
                    s.R * s.S,
                    C * s.R * s.S,
                    {s.P, ceil_div(s.H - i, s.stride_h), s.R, i + s.pad_h, -s.dilation_h, s.stride_h, true, i,
                     s.stride_h},
                    {s.Q, ceil_div(s.W - j, s.stride_w), s.S, j + s.pad_w, -s.dilation_w, s.stride_w, true, j,
                     s.stride_w},
                    s.H,
                    s.W});
    }
  }
}

#define EK_INSTANTIATE(T)                                    \
  template void conv2d_forward(const Conv2dForwardArgs<T>&); \
  template void conv2d_backward_input(const Conv2dBackwardInputArgs<T>&);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cpu::EK_ISA::gemm
