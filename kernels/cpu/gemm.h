// Matrix products in blocks: the tile that keeps its sums in registers, and the packing that feeds it.
// matmul.cpp and conv2d_gemm.cpp choose the blocks.
//
// Each element of a product is a sequence of fused multiply-adds over k for each chunk of kChunk values of k,
// and the chunks are added in order: the same bits for any tile, any number of threads, AVX2 and AVX-512.
#pragma once

#include "evenkeel/kernels/cpu/lanes.h"

namespace evenkeel::cpu::EK_ISA::gemm {

/// The tile: 24 of AVX-512's 32 registers hold sums. AVX2 does it in four parts of 12 of its 16.
inline constexpr std::int64_t kTileRows = 8;
template <typename T>
inline constexpr std::int64_t kTileCols = 3 * kLanes<T>;
template <typename T>
inline constexpr std::int64_t kChunk = static_cast<std::int64_t>(1024 / sizeof(T));

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

/// One chunk of a product: c[m][n] = sum over k of a[m][k] b[k][n], or += if `add`. Up to a multiple of
/// kTileCols, columns past N must be readable in b and writable in c; what is in them means nothing.
template <typename T>
struct Block {
  T* c;  // row m at c + m * c_stride
  std::int64_t c_stride;
  const T* a;  // a[m][k] at a + m / kTileRows * a_stride + k * kTileRows + m % kTileRows
  std::int64_t a_stride;
  const T* b;  // b[k][n] at b + n / kTileCols * b_stride + b_offset[k] + n % kTileCols
  std::int64_t b_stride;
  const std::int64_t* b_offset;
  std::int64_t M, N, K;
  bool add;
};
template <typename T>
void multiply(const Block<T>& block);

/// Panels of WIDTH = kTileRows or kTileCols: out[i / WIDTH * panel + k * WIDTH + i % WIDTH] =
/// in[i * stride_i + k * stride_k] for i < n and k < K; the last panel is filled up with 0.
template <std::int64_t WIDTH, typename T>
void pack(T* out, std::int64_t panel, const T* in, std::int64_t stride_i, std::int64_t stride_k,
          std::int64_t n, std::int64_t K);

/// out[j * out_stride + i] = in[i * in_stride + j] for i < rows and j < cols.
template <typename T>
void transpose(T* out, std::int64_t out_stride, const T* in, std::int64_t in_stride, std::int64_t rows,
               std::int64_t cols);

}  // namespace evenkeel::cpu::EK_ISA::gemm
