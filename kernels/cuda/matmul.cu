#include "evenkeel/kernels/matmul.h"

#include "evenkeel/kernels/cuda/vector.cuh"

namespace evenkeel::cuda {
namespace {

// A block computes a tile of 64 x 64 elements of c in steps of 16 along K; thread (ty, tx) has the 16
// elements of rows ty, ty+16, ... and columns tx, tx+16, ..., so that neighbours read neighbouring shared
// memory.
constexpr int kTile = 64, kStep = 16, kSide = 16, kEach = kTile / kSide;
constexpr int kThreads = kSide * kSide;

/// One operand's part of a step: [kStep][kTile], padded against bank conflicts.
template <typename T>
using Panel = T[kStep][kTile + 1];

/// Loads elements (k0 + k, i0 + i) of an operand that is [K, size] by these strides; zeros outside.
/// Neighbouring threads take neighbours along K or along i, whichever lie together in memory.
template <typename T>
__device__ void load_panel(Panel<T>& panel, const T* from, std::int64_t k0, std::int64_t K,
                           std::int64_t stride_k, std::int64_t i0, std::int64_t size, std::int64_t stride_i) {
  const bool along_k = stride_k == 1;
  for (int e = static_cast<int>(threadIdx.x); e < kStep * kTile; e += kThreads) {
    const int k = along_k ? e % kStep : e / kTile, i = along_k ? e / kStep : e % kTile;
    const bool inside = k0 + k < K && i0 + i < size;
    panel[k][i] = inside ? from[(k0 + k) * stride_k + (i0 + i) * stride_i] : T(0);
  }
}

/// c [batch, M, N] = a b. 2 batch M N K FLOP; bytes: every element of a N/64 times, of b M/64 times, most of
/// them from the L2 cache, and c once.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    matmul_kernel(MatmulArgs<T> g, std::int64_t row_tiles, std::int64_t column_tiles) {
  SIMT_SHARED(T, a_panel, [kStep][kTile + 1]);
  SIMT_SHARED(T, b_panel, [kStep][kTile + 1]);
  const std::int64_t product = blockIdx.x / (row_tiles * column_tiles);
  const std::int64_t m0 = blockIdx.x / column_tiles % row_tiles * kTile,
                     n0 = blockIdx.x % column_tiles * kTile;
  const int ty = static_cast<int>(threadIdx.x) / kSide, tx = static_cast<int>(threadIdx.x) % kSide;
  T sums[kEach][kEach] = {};
  for (std::int64_t k0 = 0; k0 < g.K; k0 += kStep) {
    load_panel(a_panel, g.a + product * g.a_stride_batch, k0, g.K, g.a_stride_k, m0, g.M, g.a_stride_m);
    load_panel(b_panel, g.b + product * g.b_stride_batch, k0, g.K, g.b_stride_k, n0, g.N, g.b_stride_n);
    __syncthreads();
    for (int k = 0; k < kStep; ++k) {
      T a[kEach], b[kEach];
      EK_UNROLL
      for (int i = 0; i < kEach; ++i) {
        a[i] = a_panel[k][ty + i * kSide];
        b[i] = b_panel[k][tx + i * kSide];
      }
      EK_UNROLL
      for (int i = 0; i < kEach; ++i) {
        EK_UNROLL
        for (int j = 0; j < kEach; ++j) sums[i][j] += a[i] * b[j];
      }
    }
    __syncthreads();
  }
  EK_UNROLL
  for (int i = 0; i < kEach; ++i) {
    EK_UNROLL
    for (int j = 0; j < kEach; ++j) {
      const std::int64_t m = m0 + ty + i * kSide, n = n0 + tx + j * kSide;
      if (m < g.M && n < g.N) g.c[(product * g.M + m) * g.N + n] = sums[i][j];
    }
  }
}

}  // namespace

template <typename T>
void matmul(const MatmulArgs<T>& g, Stream stream) {
  const std::int64_t row_tiles = blocks_for(g.M, kTile), column_tiles = blocks_for(g.N, kTile);
  launch("matmul", matmul_kernel<T>, {g.batch * row_tiles * column_tiles, kThreads, 0, stream}, g, row_tiles,
         column_tiles);
}

template void matmul(const MatmulArgs<float>&, Stream);
template void matmul(const MatmulArgs<double>&, Stream);

}  // namespace evenkeel::cuda
