#include "evenkeel/kernels/cpu/fused/winograd.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

// A transformed tile has four rows. Row i of B^T x is the sum or difference of two rows of x, and row i of
// A^T adds it to one output row or to both. So one row is done at a time, in the order 1, 2, 0, 3, for all
// tiles of two output rows: its four columns are multiplied in two phases, columns 1 and 2, then 0 and 3, as
// the columns of A^T ask for, and the sums of both output columns stay in registers.

constexpr std::int64_t kMostTiles = 3;    // of a block, whose sums are in registers together
constexpr std::int64_t kMostBlocks = 64;  // of a row

/// The blocks of nearly equal width into which n tiles, or anything else, are cut.
struct Blocks {
  std::int64_t n, count;
  Blocks(std::int64_t number, std::int64_t most) : n(number), count((number + most - 1) / most) {}
  std::int64_t begin(std::int64_t block) const { return block * n / count; }
};

/// Rows of x that make row I of B^T x: a - b, or a + b for row 1.
template <int I>
constexpr int kFirstRow = I == 0   ? 0
                          : I == 2 ? 2
                                   : 1;
template <int I>
constexpr int kSecondRow = I == 2   ? 1
                           : I == 3 ? 3
                                    : 2;

/// Calls emit(tile, v0, v1, v2, v3) with row I of B^T x B of every tile of a row of tiles. a, b: the two rows
/// of x, or null beside the plane.
template <typename T, int I, typename Emit>
EK_INLINE void transform_inputs(const Register<T>* a, const Register<T>* b, const Axis& w, std::int64_t tiles,
                                Emit emit) {
  const auto sum = [](const Register<T>& s, const Register<T>& t)
                       EK_INLINE_LAMBDA { return I == 1 ? s + t : s - t; };
  const auto inside = [=](std::int64_t i) EK_INLINE_LAMBDA { return sum(a[i], b[i]); };
  const auto anywhere = [=](std::int64_t i) EK_INLINE_LAMBDA {
    const Register<T> zero = {};
    if (i < 0 || i >= w.in) return zero;
    return sum(a != nullptr ? a[i] : zero, b != nullptr ? b[i] : zero);
  };
  Register<T> x0 = anywhere(-w.pad), x1 = anywhere(1 - w.pad);
  const auto tile = [&](std::int64_t t, const Register<T>& x2, const Register<T>& x3) EK_INLINE_LAMBDA {
    emit(t, x0 - x2, x1 + x2, x2 - x1, x1 - x3);
    x0 = x2;
    x1 = x3;
  };
  const bool both = a != nullptr && b != nullptr;
  for (std::int64_t t = 0; t < tiles; ++t) {
    const std::int64_t i = 2 * t + 2 - w.pad;
    if (both && i >= 0 && i + 1 < w.in) {
      tile(t, inside(i), inside(i + 1));
    } else {
      tile(t, anywhere(i), anywhere(i + 1));
    }
  }
}

/// Row `row` of a plane, or null beside it.
template <typename T>
EK_INLINE const Register<T>* row_of(const Register<T>* plane, std::int64_t row, const Correlation& g) {
  return row >= 0 && row < g.h.in ? plane + row * g.w.in : nullptr;
}

/// Where transformed inputs and weights of row I lie: phase 0 is columns 1 and 2, phase 1 columns 0 and 3.
template <typename T>
struct Products {
  const Register<T>* v;  // [phase][block of tiles][C][2][tiles of the block]; here: of the block
  const T* u;            // [phase][C][2][K]; here: from output k on
  std::int64_t v_phase, u_phase, C, K;
};

/// Row I of BK outputs of N tiles: both output columns, and what they add to output rows y0 and y1; `held`
/// keeps row 1 until row 2 is there.
template <int BK, int N, int I, typename T>
EK_INLINE void multiply_tiles(Register<T>* y0, std::int64_t plane, std::int64_t Q, Register<T>* held,
                              const Products<T>& m, const T* bias) {
  Register<T> left[BK][N] = {}, right[BK][N] = {};
  const auto add = [&](const Register<T>* v, const T* u) EK_INLINE_LAMBDA {
    for (std::int64_t c = 0; c < m.C; ++c, v += 2 * N, u += 2 * m.K) {
#pragma GCC unroll 2
      for (int column = 0; column < 2; ++column) {
        Register<T> in[N];
#pragma GCC unroll 4
        for (int t = 0; t < N; ++t) {
          Register<T> value = v[column * N + t];
          EK_KEEP_IN_REGISTER(value);
          in[t] = value;
        }
#pragma GCC unroll 4
        for (int k = 0; k < BK; ++k) {
          Register<T> factor = broadcast(u[column * m.K + k]);
          if (!kManyRegisters) EK_KEEP_IN_REGISTER(factor);
#pragma GCC unroll 4
          for (int t = 0; t < N; ++t) (column == 0 ? left : right)[k][t] += factor * in[t];
        }
      }
    }
  };
  add(m.v, m.u);
#pragma GCC unroll 4
  for (int k = 0; k < BK; ++k) {
#pragma GCC unroll 4
    for (int t = 0; t < N; ++t) {
      const Register<T> of_1 = left[k][t];
      left[k][t] = of_1 + right[k][t];
      right[k][t] = of_1 - right[k][t];
    }
  }
  add(m.v + m.v_phase, m.u + m.u_phase);
#pragma GCC unroll 4
  for (int k = 0; k < BK; ++k) {
    const T b = bias != nullptr ? bias[k] : T(0);
#pragma GCC unroll 4
    for (int t = 0; t < N; ++t) {
      Register<T>*top = y0 + k * plane + 2 * t, *bottom = top + Q, *of_1 = held + (k * N + t) * 2;
      if (I == 1) {
        of_1[0] = left[k][t];
        of_1[1] = right[k][t];
      } else if (I == 2) {
        top[0] = of_1[0] + left[k][t] + b;
        top[1] = of_1[1] + right[k][t] + b;
        bottom[0] = of_1[0] - left[k][t] + b;
        bottom[1] = of_1[1] - right[k][t] + b;
      } else if (I == 0) {
        top[0] += left[k][t];
        top[1] += right[k][t];
      } else {
        bottom[0] -= left[k][t];
        bottom[1] -= right[k][t];
      }
    }
  }
}

/// All outputs of a block of N tiles.
template <int N, int I, typename T>
EK_INLINE void multiply_block(Register<T>* y0, const Correlation& g, Register<T>* held, Products<T> m,
                              const T* bias) {
  const std::int64_t plane = g.h.out * g.w.out, Q = g.w.out;
  std::int64_t k = 0;
  const auto outputs = [&]<int BK>() EK_INLINE_LAMBDA {
    for (; k + BK <= g.K; k += BK) {
      Products<T> from = m;
      from.u += k;
      multiply_tiles<BK, N, I>(y0 + k * plane, plane, Q, held + k * N * 2, from,
                               bias != nullptr ? bias + k : nullptr);
    }
  };
  if constexpr (kManyRegisters) outputs.template operator()<4>();  // 24 sums of 32 registers
  if constexpr (!kManyRegisters && N == 2) {
    while (g.K - k >= 3 && g.K - k != 4) {  // 12 sums of 16
      Products<T> from = m;
      from.u += k;
      multiply_tiles<3, N, I>(y0 + k * plane, plane, Q, held + k * N * 2, from,
                              bias != nullptr ? bias + k : nullptr);
      k += 3;
    }
  }
  outputs.template operator()<2>();
  outputs.template operator()<1>();
}

/// A row of tiles: memory of the thread, and the blocks that it is cut into.
template <typename T>
struct TileRow {
  Register<T>*v, *held;
  std::int64_t count = 0;                                                         // of blocks
  std::int64_t first[kMostBlocks + 1];                                            // tile of each block
  std::int64_t place[kMostTiles * kMostBlocks], width[kMostTiles * kMostBlocks];  // of each tile

  TileRow(Register<T>* memory, const Correlation& g) : v(memory), held(memory + g.C * 2 * g.w.out) {
    const Blocks blocks(g.w.out / 2, kMostTiles);
    count = blocks.count;
    for (std::int64_t b = 0; b <= count; ++b) first[b] = blocks.begin(b);
    for (std::int64_t b = 0; b < count; ++b) {
      for (std::int64_t t = first[b]; t < first[b + 1]; ++t) {
        place[t] = first[b] * g.C * 2 + t - first[b];
        width[t] = first[b + 1] - first[b];
      }
    }
  }
};

/// Row I of a row of tiles: transforms the inputs and multiplies.
template <int I, typename T>
__attribute__((noinline)) void correlate_tile_row(Register<T>* y, const Register<T>* x, const T* u,
                                                  const T* bias, const Correlation& g, const TileRow<T>& at,
                                                  std::int64_t row) {
  const std::int64_t tiles = g.w.out / 2, first = 2 * row - g.h.pad;
  const std::int64_t v_phase = g.C * 2 * tiles, u_phase = g.C * 2 * g.K;
  for (std::int64_t c = 0; c < g.C; ++c) {
    const Register<T>* plane = x + c * g.h.in * g.w.in;
    transform_inputs<T, I>(row_of<T>(plane, first + kFirstRow<I>, g),
                           row_of<T>(plane, first + kSecondRow<I>, g), g.w, tiles,
                           [&](std::int64_t t, const Register<T>& v0, const Register<T>& v1,
                               const Register<T>& v2, const Register<T>& v3) EK_INLINE_LAMBDA {
                             const std::int64_t width = at.width[t];
                             Register<T>* to = at.v + at.place[t] + c * 2 * width;
                             to[0] = v1;
                             to[width] = v2;
                             to[v_phase] = v0;
                             to[v_phase + width] = v3;
                           });
  }
  for (std::int64_t b = 0; b < at.count; ++b) {
    const std::int64_t t = at.first[b];
    const Products<T> m{at.v + t * g.C * 2, u + I * 2 * u_phase, v_phase, u_phase, g.C, g.K};
    Register<T>* to = y + 2 * row * g.w.out + 2 * t;
    Register<T>* held = at.held + t * g.K * 2;
    switch (at.first[b + 1] - t) {
      case 3:
        multiply_block<3, I>(to, g, held, m, bias);
        break;
      case 2:
        multiply_block<2, I>(to, g, held, m, bias);
        break;
      default:
        multiply_block<1, I>(to, g, held, m, bias);
    }
  }
}

// --- the gradient of the filters
// -----------------------------------------------------------------------------

/// acc = sum over n tiles of d[t][i] v[t][j], i < BK, j < BC, or += it unless `first`.
template <int BK, int BC, typename T>
EK_INLINE void add_products(Register<T>* acc, const Register<T>* d, const Register<T>* v, std::int64_t n,
                            bool first) {
  Register<T> sum[BK][BC];
  for (int i = 0; i < BK; ++i) {
    for (int j = 0; j < BC; ++j) sum[i][j] = first ? Register<T>{} : acc[i * BC + j];
  }
  for (std::int64_t t = 0; t < n; ++t, d += BK, v += BC) {
    Register<T> in[BC];
#pragma GCC unroll 4
    for (int j = 0; j < BC; ++j) {
      Register<T> value = v[j];
      EK_KEEP_IN_REGISTER(value);
      in[j] = value;
    }
#pragma GCC unroll 8
    for (int i = 0; i < BK; ++i) {
      Register<T> gradient = d[i];
      EK_KEEP_IN_REGISTER(gradient);
#pragma GCC unroll 4
      for (int j = 0; j < BC; ++j) sum[i][j] += gradient * in[j];
    }
  }
  for (int i = 0; i < BK; ++i) {
    for (int j = 0; j < BC; ++j) acc[i * BC + j] = sum[i][j];
  }
}

constexpr std::int64_t kMostOutputs = 4, kMostInputs = kManyRegisters ? 4 : 3;

/// add_products() for blocks of these sizes.
template <typename T>
void add_block_products(Register<T>* acc, const Register<T>* d, const Register<T>* v, std::int64_t n,
                        bool first, std::int64_t outputs, std::int64_t inputs) {
  const auto with = [&]<int BK>() {
    switch (inputs) {
      case 4:
        if constexpr (kMostInputs == 4) return add_products<BK, 4, T>(acc, d, v, n, first);
        break;
      case 3:
        return add_products<BK, 3, T>(acc, d, v, n, first);
      case 2:
        return add_products<BK, 2, T>(acc, d, v, n, first);
      default:
        return add_products<BK, 1, T>(acc, d, v, n, first);
    }
  };
  switch (outputs) {
    case 4:
      return with.template operator()<4>();
    case 3:
      return with.template operator()<3>();
    case 2:
      return with.template operator()<2>();
    default:
      return with.template operator()<1>();
  }
}

/// Memory of a thread for the gradient of filters: of rows of tiles, their transformed inputs and gradients,
/// [4 columns][blocks][tiles][of a block]; and the sums [16][blocks of outputs][blocks of inputs].
template <typename T>
struct GradientMemory {
  Register<T>*x, *d, *acc;
};

/// Row I of the rows of tiles [begin, end).
template <int I, typename T>
__attribute__((noinline)) void add_tile_rows(const GradientMemory<T>& memory, const Register<T>* dy,
                                             const Register<T>* x, const Correlation& g,
                                             const Blocks& outputs, const Blocks& inputs, std::int64_t begin,
                                             std::int64_t end) {
  const std::int64_t tiles = g.w.out / 2, n = (end - begin) * tiles;
  for (std::int64_t b = 0; b < inputs.count; ++b) {
    const std::int64_t of_block = inputs.begin(b), width = inputs.begin(b + 1) - of_block;
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t j = 0; j < width; ++j) {
        const Register<T>* plane = x + (of_block + j) * g.h.in * g.w.in;
        Register<T>* to = memory.x + of_block * n + (row - begin) * tiles * width + j;
        const std::int64_t first = 2 * row - g.h.pad, column = g.C * n;
        transform_inputs<T, I>(row_of<T>(plane, first + kFirstRow<I>, g),
                               row_of<T>(plane, first + kSecondRow<I>, g), g.w, tiles,
                               [=](std::int64_t t, const Register<T>& v0, const Register<T>& v1,
                                   const Register<T>& v2, const Register<T>& v3) EK_INLINE_LAMBDA {
                                 to[t * width] = v0;
                                 to[column + t * width] = v1;
                                 to[2 * column + t * width] = v2;
                                 to[3 * column + t * width] = v3;
                               });
      }
    }
  }
  for (std::int64_t b = 0; b < outputs.count; ++b) {  // row I of A dy A^T, whose signs come at the end
    const std::int64_t of_block = outputs.begin(b), width = outputs.begin(b + 1) - of_block;
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t i = 0; i < width; ++i) {
        const Register<T>* top = dy + ((of_block + i) * g.h.out + 2 * row) * g.w.out;
        const Register<T>* bottom = top + g.w.out;
        Register<T>* to = memory.d + of_block * n + (row - begin) * tiles * width + i;
        const std::int64_t column = g.K * n;
        const auto at = [=](std::int64_t q) EK_INLINE_LAMBDA {
          return I == 0 ? top[q] : I == 1 ? top[q] + bottom[q] : I == 2 ? top[q] - bottom[q] : bottom[q];
        };
        for (std::int64_t t = 0; t < tiles; ++t) {
          const Register<T> left = at(2 * t), right = at(2 * t + 1);
          to[t * width] = left;
          to[column + t * width] = left + right;
          to[2 * column + t * width] = left - right;
          to[3 * column + t * width] = right;
        }
      }
    }
  }
  for (int j = 0; j < 4; ++j) {
    for (std::int64_t a = 0; a < outputs.count; ++a) {
      const std::int64_t k = outputs.begin(a), of_k = outputs.begin(a + 1) - k;
      for (std::int64_t b = 0; b < inputs.count; ++b) {
        const std::int64_t c = inputs.begin(b), of_c = inputs.begin(b + 1) - c;
        add_block_products<T>(memory.acc + (I * 4 + j) * g.K * g.C + k * g.C + c * of_k,
                              memory.d + (j * g.K + k) * n, memory.x + (j * g.C + c) * n, n, begin == 0, of_k,
                              of_c);
      }
    }
  }
}

/// One column of G^T m, m [4].
template <typename T>
EK_INLINE void filter_column(Register<T> (&f)[3], const Register<T>& m0, const Register<T>& m1,
                             const Register<T>& m2, const Register<T>& m3) {
  const Register<T> a = m1 * T(0.5), b = m2 * T(0.5);
  f[0] = m0 + a + b;
  f[1] = a - b;
  f[2] = a + b + m3;
}

}  // namespace

bool winograd_fits(const Correlation& g) {
  return g.h.taps == 3 && g.w.taps == 3 && g.h.dense() && g.w.dense() && g.h.pad <= 2 && g.w.pad <= 2 &&
         g.h.pad >= 0 && g.w.pad >= 0 && g.h.out % 2 == 0 && g.w.out % 2 == 0 &&
         g.w.out / 2 <= kMostTiles * kMostBlocks;
}

bool winograd_pays(const Correlation& g) { return winograd_fits(g) && g.C >= 4 && g.K >= 2; }

bool winograd_pays_for_input_gradient(const Correlation& g) {
  return winograd_fits(g) && g.C >= 12 && g.K >= 8 && g.h.out * g.w.out >= 100;
}

bool winograd_pays_for_weight_gradient(const Correlation& g) {
  return winograd_fits(g) && g.C >= 12 && g.K >= 12 && g.h.out * g.w.out >= 64;
}

std::int64_t winograd_size(const Correlation& g) { return g.groups * g.C * g.K * 16; }

template <typename T>
void winograd_weights(T* out, const T* w, const Correlation& forward, bool flip) {
  const std::int64_t C = flip ? forward.K : forward.C, K = flip ? forward.C : forward.K;
  const std::int64_t to_k = flip ? 9 : forward.C * 9, to_c = flip ? forward.C * 9 : 9;
  static thread_local Scratch scratch;
  T* filter = scratch.get<T>(9 * K);  // [3][3][K], of one input
  for (std::int64_t group = 0; group < forward.groups; ++group, w += C * K * 9, out += C * K * 16) {
    for (std::int64_t c = 0; c < C; ++c) {
      for (std::int64_t k = 0; k < K; ++k) {
        for (std::int64_t i = 0; i < 9; ++i) filter[i * K + k] = w[k * to_k + c * to_c + (flip ? 8 - i : i)];
      }
      for (std::int64_t k = 0; k < K; ++k) {
        T column[4][3];  // G w
        for (int s = 0; s < 3; ++s) {
          const T f0 = filter[s * K + k], f1 = filter[(3 + s) * K + k], f2 = filter[(6 + s) * K + k];
          column[0][s] = f0;
          column[1][s] = (f0 + f2) * T(0.5) + f1 * T(0.5);
          column[2][s] = (f0 + f2) * T(0.5) - f1 * T(0.5);
          column[3][s] = f2;
        }
        for (int i = 0; i < 4; ++i) {
          const T* h = column[i];
          T* to = out + ((i * 2) * C + c) * 2 * K + k;
          to[0] = (h[0] + h[2]) * T(0.5) + h[1] * T(0.5);
          to[K] = (h[0] + h[2]) * T(0.5) - h[1] * T(0.5);
          to[C * 2 * K] = h[0];
          to[C * 2 * K + K] = -h[2];
        }
      }
    }
  }
}

template <typename T>
void winograd_correlate(Register<T>* y, const Register<T>* x, const T* u, const T* bias,
                        const Correlation& g) {
  static thread_local Scratch scratch;
  const std::int64_t tiles = g.w.out / 2;
  auto* memory = scratch.get<Register<T>>((g.C * 4 + g.K * 2) * tiles);
  const TileRow<T> of_row(memory, g);
  for (std::int64_t group = 0; group < g.groups; ++group) {
    Register<T>* to = y + group * g.K * g.h.out * g.w.out;
    const Register<T>* from = x + group * g.C * g.h.in * g.w.in;
    const T* weight = u + group * g.C * g.K * 16;
    const T* b = bias != nullptr ? bias + group * g.K : nullptr;
    for (std::int64_t row = 0; row < g.h.out / 2; ++row) {
      correlate_tile_row<1>(to, from, weight, b, g, of_row, row);
      correlate_tile_row<2>(to, from, weight, b, g, of_row, row);
      correlate_tile_row<0>(to, from, weight, b, g, of_row, row);
      correlate_tile_row<3>(to, from, weight, b, g, of_row, row);
    }
  }
}

template <typename T>
void winograd_weight_gradient(T* dw, const Register<T>* dy, const Register<T>* x, const Correlation& g,
                              std::int64_t count) {
  const std::int64_t tiles = g.w.out / 2, rows = g.h.out / 2, filters = g.K * g.C;
  constexpr std::int64_t kBytes = 56 << 10;  // of a column of transformed tiles, in the first-level cache
  const std::int64_t of_row = (g.C + g.K) * tiles * static_cast<std::int64_t>(sizeof(Register<T>));
  const std::int64_t together = std::clamp<std::int64_t>(kBytes / of_row, 1, rows);
  const Blocks outputs(g.K, kMostOutputs), inputs(g.C, kMostInputs);
  static thread_local Scratch scratch;
  auto* memory = scratch.get<Register<T>>(16 * filters + 4 * (g.C + g.K) * together * tiles);
  const GradientMemory<T> at{memory + 16 * filters, memory + 16 * filters + 4 * g.C * together * tiles,
                             memory};
  for (std::int64_t group = 0; group < g.groups; ++group, dw += filters * 9) {
    const Register<T>* from_dy = dy + group * g.K * g.h.out * g.w.out;
    const Register<T>* from_x = x + group * g.C * g.h.in * g.w.in;
    for (std::int64_t row = 0; row < rows; row += together) {
      const std::int64_t end = std::min(rows, row + together);
      add_tile_rows<0>(at, from_dy, from_x, g, outputs, inputs, row, end);
      add_tile_rows<1>(at, from_dy, from_x, g, outputs, inputs, row, end);
      add_tile_rows<2>(at, from_dy, from_x, g, outputs, inputs, row, end);
      add_tile_rows<3>(at, from_dy, from_x, g, outputs, inputs, row, end);
    }
    // G^T m G of each filter in lanes, in the place of its m, then the sums over the lanes.
    for (std::int64_t f = 0; f < filters; ++f) {
      Register<T> m[4][4], half[3][4];
      for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 4; ++j) {
          m[i][j] = at.acc[(i * 4 + j) * filters + f];
          if ((i == 3) != (j == 3)) m[i][j] = -m[i][j];
        }
      }
      for (int j = 0; j < 4; ++j) {
        Register<T> column[3];
        filter_column<T>(column, m[0][j], m[1][j], m[2][j], m[3][j]);
        for (int r = 0; r < 3; ++r) half[r][j] = column[r];
      }
      for (int r = 0; r < 3; ++r) {
        Register<T> row[3];
        filter_column<T>(row, half[r][0], half[r][1], half[r][2], half[r][3]);
        for (int s = 0; s < 3; ++s) at.acc[(r * 3 + s) * filters + f] = row[s];
      }
    }
    static thread_local Scratch of_sums;
    T* sums = of_sums.get<T>(9 * filters);
    sum_lanes<T>(sums, 9 * filters, count, [=](std::int64_t i) EK_INLINE_LAMBDA { return at.acc[i]; });
    std::int64_t f = 0;
    for (std::int64_t a = 0; a < outputs.count; ++a) {
      for (std::int64_t b = 0; b < inputs.count; ++b) {
        for (std::int64_t k = outputs.begin(a); k < outputs.begin(a + 1); ++k) {
          for (std::int64_t c = inputs.begin(b); c < inputs.begin(b + 1); ++c, ++f) {
            for (std::int64_t t = 0; t < 9; ++t) dw[(k * g.C + c) * 9 + t] = sums[t * filters + f];
          }
        }
      }
    }
  }
}

#define EK_INSTANTIATE(T)                                                                                \
  template void winograd_weights(T*, const T*, const Correlation&, bool);                                \
  template void winograd_correlate(Register<T>*, const Register<T>*, const T*, const T*,                 \
                                   const Correlation&);                                                  \
  template void winograd_weight_gradient(T*, const Register<T>*, const Register<T>*, const Correlation&, \
                                         std::int64_t);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cpu::EK_ISA
