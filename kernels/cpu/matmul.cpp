#include "evenkeel/kernels/matmul.h"

#include <algorithm>

#include "evenkeel/kernels/cpu/gemm.h"
#include "evenkeel/kernels/cpu/parallel.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

using gemm::ceil_div;
using gemm::kChunk;
using gemm::kTileCols;
using gemm::kTileRows;
using gemm::round_up;

/// The table b_offset of a packed panel.
template <typename T>
const std::int64_t* panel_offsets() {
  struct Table {
    std::int64_t at[kChunk<T>];
    Table() {
      for (std::int64_t k = 0; k < kChunk<T>; ++k) at[k] = k * kTileCols<T>;
    }
  };
  static const Table table;
  return table.at;
}

/// The product's rows m .. m+rows-1 and columns n .. n+cols-1, in memory of this thread.
template <typename T>
void multiply_block(const MatmulArgs<T>& g, std::int64_t i, std::int64_t m, std::int64_t rows, std::int64_t n,
                    std::int64_t cols) {
  static thread_local Scratch scratch_a, scratch_b, scratch_c;
  const std::int64_t c_stride = round_up(cols, kTileCols<T>), chunk = std::min(g.K, kChunk<T>);
  // A cache line more than a panel has, so that panels do not all begin in the same set of the cache.
  const std::int64_t a_stride = chunk * kTileRows + kLanes<T>, b_stride = chunk * kTileCols<T> + kLanes<T>;
  T* a = scratch_a.get<T>(ceil_div(rows, kTileRows) * a_stride);
  T* b = scratch_b.get<T>(ceil_div(cols, kTileCols<T>) * b_stride);
  T* c = scratch_c.get<T>(rows * c_stride);
  std::int64_t k = 0;
  do {
    const std::int64_t K = std::min(chunk, g.K - k);
    gemm::pack<kTileRows>(a, a_stride, g.a + i * g.a_stride_batch + m * g.a_stride_m + k * g.a_stride_k,
                          g.a_stride_m, g.a_stride_k, rows, K);
    gemm::pack<kTileCols<T>>(b, b_stride, g.b + i * g.b_stride_batch + n * g.b_stride_n + k * g.b_stride_k,
                             g.b_stride_n, g.b_stride_k, cols, K);
    gemm::multiply<T>({c, c_stride, a, a_stride, b, b_stride, panel_offsets<T>(), rows, cols, K, k > 0});
    k += chunk;
  } while (k < g.K);
  for (std::int64_t row = 0; row < rows; ++row) {
    std::copy_n(c + row * c_stride, cols, g.c + (i * g.M + m + row) * g.N + n);
  }
}

}  // namespace

template <typename T>
void matmul(const MatmulArgs<T>& g) {
  // A task: a block of one product. Few and large blocks pack less; a small product needs more of them to
  // share.
  constexpr std::int64_t kSide = 384, kFlat = 96, kFew = 8;
  const std::int64_t col_blocks = ceil_div(g.N, kSide);
  const std::int64_t height = g.batch * ceil_div(g.M, kSide) * col_blocks < kFew ? kFlat : kSide;
  const std::int64_t row_blocks = ceil_div(g.M, height), blocks = row_blocks * col_blocks;
  const std::int64_t cost = std::min(height, g.M) * std::min(kSide, g.N) * g.K;
  parallel_for(g.batch * blocks, cost, [&](std::int64_t task) {
    const std::int64_t m = task % blocks / col_blocks * height, n = task % col_blocks * kSide;
    multiply_block(g, task / blocks, m, std::min(height, g.M - m), n, std::min(kSide, g.N - n));
  });
}

template void matmul(const MatmulArgs<float>&);
template void matmul(const MatmulArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
