// The kernels of injected_bugs.cpp, which says who catches which. BUG switches the bug on.
#include "simt/injected_bugs.h"

#include <cuda_runtime.h>

#include "simt/device_array.h"

using simt::test::DeviceArray;
using simt::test::iota;
using simt::test::launch_1d;

namespace {

template <bool BUG>
__global__ void reverse(int* y, const int* x) {
  SIMT_SHARED(int, tile, [128]);
  tile[threadIdx.x] = x[threadIdx.x];
  if (!BUG) __syncthreads();
  y[threadIdx.x] = tile[127 - threadIdx.x];
}

template <bool BUG>
bool run_reverse() {
  const DeviceArray<int> x(iota<int>(128)), y(128);
  launch_1d(1, 128, reverse<BUG>, y.data(), x.data());
  return y.values()[5] == 122;
}

/// Row sums, y: [rows]; x: [rows, 128]. The bug leaves the numbers right: when a thread reaches the second
/// write, the shuffles before it have let all others read.
template <bool BUG>
__global__ void sum_rows(int* y, const int* x, int rows) {
  SIMT_SHARED(int, of_warp, [4]);
  const unsigned t = threadIdx.x;
  for (int row = 0; row < rows; ++row) {
    int sum = x[row * 128 + static_cast<int>(t)];
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
    if (t % 32 == 0) of_warp[t / 32] = sum;
    __syncthreads();
    sum = of_warp[0] + of_warp[1] + of_warp[2] + of_warp[3];
    if (t == 0) y[row] = sum;
    if (!BUG) __syncthreads();
  }
}

template <bool BUG>
bool run_sum_rows() {
  const DeviceArray<int> x(iota<int>(3 * 128)), y(3);
  launch_1d(1, 128, sum_rows<BUG>, y.data(), x.data(), 3);
  return y.values() == std::vector<int>{8128, 24512, 40896};
}

template <bool BUG>
__global__ void add_next(int* y, const int* x, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  y[i] = x[i] + (BUG || i + 1 < n ? x[i + 1] : 0);
}

template <bool BUG>
bool run_add_next() {
  const DeviceArray<int> x(iota<int>(1000)), y(1000);
  launch_1d(8, 128, add_next<BUG>, y.data(), x.data(), 1000);
  return y.values()[998] == 998 + 999;
}

template <bool BUG>
__global__ void add_block_minimum(int* y, const int* x, int n) {
  SIMT_SHARED(int, tile, [64]);
  const int i = static_cast<int>(blockIdx.x * 64 + threadIdx.x);
  if (BUG && i >= n) return;
  tile[threadIdx.x] = i < n ? x[i] : 1 << 30;
  __syncthreads();
  if (i < n) y[i] = x[i] + tile[0];
}

template <bool BUG>
bool run_add_block_minimum() {
  const DeviceArray<int> x(iota<int>(100)), y(100);
  launch_1d(2, 64, add_block_minimum<BUG>, y.data(), x.data(), 100);
  return y.values()[99] == 99 + 64;
}

/// c = a b, all [64, 64], in tiles of 16 x 16.
template <bool BUG>
__global__ void multiply_tiled(float* c, const float* a, const float* b) {
  SIMT_SHARED(float, a_tile, [16][17]);
  SIMT_SHARED(float, b_tile, [16][17]);
  const unsigned x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * 16 + y, column = blockIdx.x * 16 + x;
  float sum = 0;
  for (unsigned k = 0; k < 64; k += 16) {
    a_tile[y][x] = a[row * 64 + k + x];
    b_tile[y][x] = b[(k + y) * 64 + column];
    __syncthreads();
    for (unsigned i = 0; i < 16; ++i) sum += a_tile[y][i] * b_tile[i][x];
    if (!BUG) __syncthreads();
  }
  c[row * 64 + column] = sum;
}

template <bool BUG>
bool run_multiply_tiled() {
  const DeviceArray<float> a(std::vector<float>(64 * 64, 2)), b(iota<float>(64 * 64)), c(64 * 64);
  simt::launch({"multiply_tiled", {4, 4, 1}, {16, 16, 1}, 0}, multiply_tiled<BUG>, c.data(), a.data(),
               b.data());
  return c.values()[1] == 2 * (64 * 63 / 2 * 64 + 64);
}

/// y: [16], the row sums of x: [16, 17]. The bug sums one column too many, still within the array.
template <bool BUG>
__global__ void sum_tile_rows(float* y, const float* x) {
  SIMT_SHARED(float, tile, [16][17]);
  const unsigned t = threadIdx.x;
  for (unsigned i = 0; i < 17; ++i) tile[t][i] = x[t * 17 + i];
  __syncthreads();
  float sum = 0;
  for (unsigned i = 0; i < (BUG && t < 15 ? 18u : 17u); ++i) sum += tile[t][i];
  y[t] = sum;
}

template <bool BUG>
bool run_sum_tile_rows() {
  const DeviceArray<float> x(std::vector<float>(16 * 17, 1)), y(16);
  launch_1d(1, 16, sum_tile_rows<BUG>, y.data(), x.data());
  return y.values()[15] == 17;
}

template <bool BUG>
__global__ void swap_neighbours(int* y, const int* x) {
  SIMT_SHARED(int, tile, [32]);
  tile[threadIdx.x] = x[threadIdx.x];
  if (!BUG) __syncwarp();
  y[threadIdx.x] = tile[threadIdx.x ^ 1];
}

template <bool BUG>
bool run_swap_neighbours() {
  const DeviceArray<int> x(iota<int>(32)), y(32);
  launch_1d(1, 32, swap_neighbours<BUG>, y.data(), x.data());
  return y.values()[6] == 7;
}

/// The bug leaves the numbers right: here nobody comes between the load and the store of an addition.
template <bool BUG>
__global__ void histogram(int* h, const unsigned char* x, int n) {
  for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < n;
       i += static_cast<int>(gridDim.x * blockDim.x)) {
    if (BUG) {
      h[x[i] % 10] += 1;
    } else {
      atomicAdd(&h[x[i] % 10], 1);
    }
  }
}

template <bool BUG>
bool run_histogram() {
  const DeviceArray<unsigned char> x(iota<unsigned char>(250));
  const DeviceArray<int> h(std::vector<int>(10, 0));
  launch_1d(2, 64, histogram<BUG>, h.data(), x.data(), 250);
  return h.values() == std::vector<int>(10, 25);
}

}  // namespace

#define INJECTED_BUG(name, run)                                               \
  InjectedBug {                                                               \
    name, [](bool with_bug) { return with_bug ? run<true>() : run<false>(); } \
  }

std::vector<InjectedBug> injected_bugs() {
  return {INJECTED_BUG("barrier missing after a write", run_reverse),
          INJECTED_BUG("barrier missing before reuse", run_sum_rows),
          INJECTED_BUG("read past a global buffer", run_add_next),
          INJECTED_BUG("return before a barrier", run_add_block_minimum),
          INJECTED_BUG("tiled GEMM, one barrier short", run_multiply_tiled),
          INJECTED_BUG("overrun inside [16][17]", run_sum_tile_rows),
          INJECTED_BUG("__syncwarp missing", run_swap_neighbours),
          INJECTED_BUG("h[i] += 1 for atomicAdd", run_histogram)};
}
