#include "evenkeel/kernels/cpu/gemm.h"

#include <algorithm>

namespace evenkeel::cpu::EK_ISA::gemm {
namespace {

/// ROWS x VECS sums in registers.
template <int BYTES, int ROWS, int VECS, typename T>
EK_INLINE void multiply_part(const Block<T>& g, T* c, const T* a, const T* b) {
  typedef T Register __attribute__((vector_size(BYTES)));
  constexpr int lanes = BYTES / static_cast<int>(sizeof(T));
  const std::int64_t K = g.K, c_stride = g.c_stride;
  const std::int64_t* offset = g.b_offset;
  const bool add = g.add;
  Register sum[ROWS][VECS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 3
    for (int j = 0; j < VECS; ++j) sum[i][j] = Register{};
  }
  for (std::int64_t k = 0; k < K; ++k) {
    const T* row = b + offset[k];
    Register x[VECS];
#pragma GCC unroll 3
    for (int j = 0; j < VECS; ++j) std::memcpy(&x[j], row + j * lanes, BYTES);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 3
      for (int j = 0; j < VECS; ++j) sum[i][j] += a[k * kTileRows + i] * x[j];
    }
  }
  if (add) {
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 3
      for (int j = 0; j < VECS; ++j) {
        Register before;
        std::memcpy(&before, c + i * c_stride + j * lanes, BYTES);
        sum[i][j] += before;
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 3
    for (int j = 0; j < VECS; ++j) std::memcpy(c + i * c_stride + j * lanes, &sum[i][j], BYTES);
  }
}

template <int BYTES, int ROWS, int VECS, typename T>
EK_INLINE void multiply_rows(const Block<T>& g, T* c, const T* a, const T* b, std::int64_t rows) {
  if constexpr (ROWS > 1) {
    if (rows < ROWS) return multiply_rows<BYTES, ROWS - 1, VECS>(g, c, a, b, rows);
  }
  multiply_part<BYTES, ROWS, VECS>(g, c, a, b);
}

template <int BYTES, int ROWS, int VECS, typename T>
EK_INLINE void multiply_cols(const Block<T>& g, T* c, const T* a, const T* b, std::int64_t rows,
                             std::int64_t cols) {
  if constexpr (VECS > 1) {
    constexpr std::int64_t fewer = (VECS - 1) * BYTES / static_cast<int>(sizeof(T));
    if (cols <= fewer) return multiply_cols<BYTES, ROWS, VECS - 1>(g, c, a, b, rows, cols);
  }
  multiply_rows<BYTES, ROWS, VECS>(g, c, a, b, rows);
}

/// All tiles; b's columns of a tile stay in the first-level cache while a goes by.
template <int BYTES, int ROWS, int VECS, typename T>
EK_INLINE void multiply_all(const Block<T>& g) {
  constexpr std::int64_t width = VECS * BYTES / static_cast<int>(sizeof(T));
  static_assert(kTileRows % ROWS == 0 && kTileCols<T> % width == 0);
  for (std::int64_t n = 0; n < g.N; n += width) {
    const T* b = g.b + n / kTileCols<T> * g.b_stride + n % kTileCols<T>;
    for (std::int64_t m = 0; m < g.M; m += ROWS) {
      const T* a = g.a + m / kTileRows * g.a_stride + m % kTileRows;
      multiply_cols<BYTES, ROWS, VECS>(g, g.c + m * g.c_stride + n, a, b, g.M - m, g.N - n);
    }
  }
}

/// pack where the i lie side by side: whole rows, as memory has them.
template <std::int64_t WIDTH, typename T>
void pack_side_by_side(T* out, std::int64_t panel, const T* in, std::int64_t stride_k, std::int64_t n,
                       std::int64_t K) {
  for (std::int64_t k = 0; k < K; ++k) {
    const T* from = in + k * stride_k;
    T* to = out + k * WIDTH;
    std::int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH, to += panel) {
      for (int j = 0; j < WIDTH; ++j) to[j] = from[i + j];
    }
    for (int j = 0; i + j < n; ++j) to[j] = from[i + j];
  }
}

}  // namespace

template <typename T>
void multiply(const Block<T>& block) {
  if constexpr (kRegisterBytes == 64) {
    multiply_all<64, 8, 3>(block);
  } else {
    multiply_all<kRegisterBytes, 4, kRegisterBytes == 32 ? 3 : 2>(block);
  }
}

template <typename T>
void transpose(T* out, std::int64_t out_stride, const T* in, std::int64_t in_stride, std::int64_t rows,
               std::int64_t cols) {
  constexpr std::int64_t n = kRowLanes<T>;
  std::int64_t i = 0;
  for (; i + n <= rows; i += n) {
    std::int64_t j = 0;
    for (; j + n <= cols; j += n) {
      Row<T> square[n];
      for (int l = 0; l < n; ++l) std::memcpy(&square[l], in + (i + l) * in_stride + j, sizeof square[l]);
      transpose_rows<T>(square);
      for (int l = 0; l < n; ++l) std::memcpy(out + (j + l) * out_stride + i, &square[l], sizeof square[l]);
    }
    for (; j < cols; ++j) {
      for (int l = 0; l < n; ++l) out[j * out_stride + i + l] = in[(i + l) * in_stride + j];
    }
  }
  for (; i < rows; ++i) {
    for (std::int64_t j = 0; j < cols; ++j) out[j * out_stride + i] = in[i * in_stride + j];
  }
}

template <std::int64_t WIDTH, typename T>
void pack(T* out, std::int64_t panel, const T* in, std::int64_t stride_i, std::int64_t stride_k,
          std::int64_t n, std::int64_t K) {
  if (stride_i == 1) {
    pack_side_by_side<WIDTH>(out, panel, in, stride_k, n, K);
  } else {
    for (std::int64_t i = 0; i < n; i += WIDTH) {
      const T* from = in + i * stride_i;
      T* to = out + i / WIDTH * panel;
      const std::int64_t count = std::min(WIDTH, n - i);
      if (stride_k == 1) {
        transpose(to, WIDTH, from, stride_i, count, K);
      } else {
        for (std::int64_t k = 0; k < K; ++k) {
          for (std::int64_t j = 0; j < count; ++j) to[k * WIDTH + j] = from[j * stride_i + k * stride_k];
        }
      }
    }
  }
  const std::int64_t last = n % WIDTH;
  if (last == 0) return;
  for (std::int64_t k = 0; k < K; ++k)
    std::fill_n(out + n / WIDTH * panel + k * WIDTH + last, WIDTH - last, T(0));
}

#define EK_INSTANTIATE(T)                                                                                \
  template void multiply(const Block<T>&);                                                               \
  template void pack<kTileRows>(T*, std::int64_t, const T*, std::int64_t, std::int64_t, std::int64_t,    \
                                std::int64_t);                                                           \
  template void pack<kTileCols<T>>(T*, std::int64_t, const T*, std::int64_t, std::int64_t, std::int64_t, \
                                   std::int64_t);                                                        \
  template void transpose(T*, std::int64_t, const T*, std::int64_t, std::int64_t, std::int64_t);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cpu::EK_ISA::gemm
