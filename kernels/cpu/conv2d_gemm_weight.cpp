// The gradient of the weights: dy [K, pixels] times the transposed im2col(x) [pixels, R S C].
//
// x is copied with padding and with the channels innermost, so that the taps of one kernel row are side by
// side: a pixel's row of the transposed im2col(x) is R runs of the copy. Images are summed in chunks, each in
// order, then the chunks in order.
#include "evenkeel/kernels/cpu/conv2d_gemm.h"
#include "evenkeel/kernels/cpu/parallel.h"

namespace evenkeel::cpu::EK_ISA::gemm {
namespace {

/// Sizes of one group, and of what is made of them.
template <typename T>
struct WeightGradient {
  const Conv2dBackwardWeightArgs<T>& args;
  const Conv2dSizes& s = args.sizes;
  std::int64_t C = s.C / s.groups, K = s.K / s.groups;
  // The columns of dweight, R runs of all taps of a row and all channels, or R S runs of all channels if the
  // taps are not side by side. A run has `width` columns, rounded up.
  std::int64_t taps = s.dilation_w == 1 ? s.S : 1;
  std::int64_t runs = s.R * (s.S / std::max<std::int64_t>(1, taps)), length = taps * C,
               width = round_up(length, kTileCols<T>), row = runs * width;
  // The copy: [images][rows][cols][C].
  std::int64_t cols = (s.Q - 1) * s.stride_w + (s.S - 1) * s.dilation_w + 1;
  std::int64_t more_rows = (s.R - 1) * s.dilation_h + 1 - s.stride_h;
  Parts parts{s.N, s.P, cols* C* s.stride_h + s.Q* std::min<std::int64_t>(K, 64), more_rows,
              (1 << 19) / static_cast<std::int64_t>(sizeof(T))};
  std::int64_t image_rows = parts.rows * s.stride_h + more_rows;
  // Chunks of parts, as many as 16 MiB of partial gradients hold; where that is few, tasks share out the
  // filters.
  std::int64_t chunks = std::clamp<std::int64_t>((1 << 22) / std::max<std::int64_t>(1, s.K* row), 1,
                                                 std::clamp<std::int64_t>(parts.count(), 1, 32));
  std::int64_t share = round_up(ceil_div(K, std::max<std::int64_t>(1, 8 / chunks)), kTileRows);
  std::int64_t shares = ceil_div(K, share > 0 ? share : 1);
};

/// The padded copy of a part of x, channels from `first` on.
template <typename T>
void copy_channels_last(T* out, const WeightGradient<T>& g, const Part& part, std::int64_t first) {
  const Conv2dSizes& s = g.s;
  const std::int64_t before = std::min(s.pad_w, g.cols),
                     inside = std::clamp<std::int64_t>(g.cols - before, 0, s.W);
  for (std::int64_t i = 0; i < part.images * g.image_rows; ++i, out += g.cols * g.C) {
    const std::int64_t n = part.first_image + i / g.image_rows;
    const std::int64_t h = part.first_row * s.stride_h - s.pad_h + i % g.image_rows;
    if (h < 0 || h >= s.H) {
      std::fill_n(out, g.cols * g.C, T(0));
      continue;
    }
    std::fill_n(out, before * g.C, T(0));
    transpose(out + before * g.C, g.C, g.args.x + ((n * s.C + first) * s.H + h) * s.W, s.H * s.W, g.C,
              inside);
    std::fill_n(out + (before + inside) * g.C, (g.cols - before - inside) * g.C, T(0));
  }
}

template <typename T>
double sum(const T* x, std::int64_t n) {
  return lane_sum(
      n, [&](std::int64_t i) __attribute__((always_inline)) { return static_cast<double>(x[i]); });
}

/// Adds filters k .. k+rows-1 of a part to dw [.., g.row], and their biases' gradients to db; x is its copy.
template <typename T>
void add_part(T* dw, double* db, const T* x, const std::int64_t* offsets, const WeightGradient<T>& g,
              const Part& part, std::int64_t k, std::int64_t rows) {
  static thread_local Scratch packed;
  const Conv2dSizes& s = g.s;
  const std::int64_t area = part.rows * s.Q, pixels = part.images * area, panel = pixels * kTileRows;
  T* a = packed.get<T>(ceil_div(rows, kTileRows) * panel);
  for (std::int64_t i = 0; i < part.images; ++i) {
    const T* dy = g.args.dy + (((part.first_image + i) * s.K + k) * s.P + part.first_row) * s.Q;
    pack<kTileRows>(a + i * area * kTileRows, panel, dy, s.P * s.Q, 1, rows, area);
    for (std::int64_t j = 0; j < rows && g.args.dbias != nullptr; ++j) db[j] += sum(dy + j * s.P * s.Q, area);
  }
  const std::int64_t steps = ceil_div(pixels, kChunk<T>),
                     step = ceil_div(pixels, std::max<std::int64_t>(1, steps));
  for (std::int64_t first = 0; first < pixels; first += step) {
    for (std::int64_t run = 0; run < g.runs; ++run) {
      const std::int64_t r = run * g.taps / s.S, tap = run * g.taps % s.S;
      multiply<T>({dw + run * g.width, g.row, a + first * kTileRows, panel,
                   x + (r * s.dilation_h * g.cols + tap * s.dilation_w) * g.C, kTileCols<T>, offsets + first,
                   rows, g.length, std::min(step, pixels - first), true});
    }
  }
}

}  // namespace

template <typename T>
void conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>& args) {
  static thread_local Scratch partials, bias_partials, offsets;
  const Conv2dSizes& s = args.sizes;
  const WeightGradient<T> g{args};
  const std::int64_t size = s.K * g.row;  // of a partial gradient
  T* partial = partials.get<T>(g.chunks * size);
  double* bias_partial = bias_partials.get<double>(g.chunks * s.K);

  std::int64_t* const offset = offsets.get<std::int64_t>(g.parts.images * g.parts.rows * s.Q);
  const auto fill_offsets = [&](std::int64_t rows) {
    std::int64_t* to = offset;
    for (std::int64_t i = 0; i < g.parts.images; ++i) {
      for (std::int64_t p = 0; p < rows; ++p) {
        for (std::int64_t q = 0; q < s.Q; ++q) {
          *to++ = ((i * g.image_rows + p * s.stride_h) * g.cols + q * s.stride_w) * g.C;
        }
      }
    }
  };
  fill_offsets(g.parts.rows);

  const std::int64_t cost = g.parts.images * g.parts.rows * s.Q * g.share * g.row;
  parallel_for(g.chunks * s.groups * g.shares, cost, [&](std::int64_t task) {
    static thread_local Scratch copy;
    const std::int64_t chunk = task / (s.groups * g.shares), group = task / g.shares % s.groups;
    const std::int64_t k = task % g.shares * g.share, rows = std::min(g.share, g.K - k);
    T* dw = partial + chunk * size + (group * g.K + k) * g.row;
    double* db = bias_partial + chunk * s.K + group * g.K + k;
    std::fill_n(dw, rows * g.row, T(0));
    std::fill_n(db, rows, 0.0);
    T* x = copy.get<T>(g.parts.images * g.image_rows * g.cols * g.C + kTileCols<T>);
    const std::int64_t parts = g.parts.count();
    for (std::int64_t index = chunk * parts / g.chunks; index < (chunk + 1) * parts / g.chunks; ++index) {
      const Part part(g.parts, index, s.N, s.P);
      copy_channels_last(x, g, part, group * g.C);
      constexpr std::int64_t kRows = 64;  // of dy at a time: they should stay in the second-level cache
      for (std::int64_t row = 0; row < rows; row += kRows) {
        add_part(dw + row * g.row, db + row, x, offset, g, part, group * g.K + k + row,
                 std::min(kRows, rows - row));
      }
    }
  });

  parallel_for(s.K, g.chunks * g.row, [&](std::int64_t k) {
    T* total = partial + k * g.row;
    for (std::int64_t chunk = 1; chunk < g.chunks; ++chunk) {
      const T* more = total + chunk * size;
      for (std::int64_t i = 0; i < g.row; ++i) total[i] += more[i];
      bias_partial[k] += bias_partial[chunk * s.K + k];
    }
    for (std::int64_t tap = 0; tap < s.R * s.S; ++tap) {
      const T* from = total + tap / g.taps * g.width + tap % g.taps * g.C;
      for (std::int64_t c = 0; c < g.C; ++c) args.dweight[(k * g.C + c) * s.R * s.S + tap] = from[c];
    }
    if (args.dbias != nullptr) args.dbias[k] = static_cast<T>(bias_partial[k]);
  });
}

template void conv2d_backward_weight(const Conv2dBackwardWeightArgs<float>&);
template void conv2d_backward_weight(const Conv2dBackwardWeightArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA::gemm
