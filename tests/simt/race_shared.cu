// Cases of test_race.cpp in shared memory.
#include <cuda_runtime.h>

#include "simt/device_array.h"
#include "simt/race_kernels.h"

using namespace simt::test;

namespace {

struct alignas(16) Vec4 {
  float v[4];
};

/// Each block writes a tile of T and reads it in reverse.
template <typename T, bool RACE>
__global__ void reverse(T* y, const T* x) {
  SIMT_SHARED(T, tile, [64]);
  const unsigned t = threadIdx.x, first = blockIdx.x * 64;
  tile[t] = x[first + t];
  if (!RACE) __syncthreads();
  y[first + t] = tile[63 - t];
}

template <typename T, bool RACE>
void run_reverse() {
  const DeviceArray<T> x(std::vector<T>(256)), y(256);
  launch_1d(4, 64, reverse<T, RACE>, y.data(), x.data());
}

/// The tree that halves the threads each step.
template <bool RACE>
__global__ void reduce(float* y, const float* x) {
  SIMT_SHARED(float, sums, [128]);
  const unsigned t = threadIdx.x;
  sums[t] = x[blockIdx.x * 128 + t];
  __syncthreads();
  for (unsigned n = 64; n > 0; n /= 2) {
    if (t < n) sums[t] += sums[t + n];
    if (!RACE || n != 64) __syncthreads();
  }
  if (t == 0) y[blockIdx.x] = sums[0];
}

template <bool RACE>
void run_reduce() {
  const DeviceArray<float> x(std::vector<float>(512, 1)), y(4);
  launch_1d(4, 128, reduce<RACE>, y.data(), x.data());
}

/// The dynamic part holds doubles, then floats.
template <bool RACE>
__global__ void reuse_dynamic(float* y, const double* x) {
  SIMT_DYN_SHARED(double, wide);
  SIMT_DYN_SHARED(float, narrow);
  const unsigned t = threadIdx.x;
  wide[t] = x[t];
  __syncthreads();
  const double sum = wide[t] + wide[63 - t];
  if (!RACE) __syncthreads();
  narrow[t] = static_cast<float>(sum);
  __syncthreads();
  y[blockIdx.x * 64 + t] = narrow[(t + 1) % 64];
}

template <bool RACE>
void run_reuse_dynamic() {
  const DeviceArray<double> x(std::vector<double>(64, 1));
  const DeviceArray<float> y(128);
  simt::launch({"reuse_dynamic", {2, 1, 1}, {64, 1, 1}, 64 * sizeof(double)}, reuse_dynamic<RACE>, y.data(),
               x.data());
}

/// Lane 0 sends a value to the others, twice: the second write comes after their reads only by __syncwarp.
template <bool RACE>
__global__ void broadcast_twice(int* y) {
  SIMT_SHARED(int, value, [2]);
  const unsigned t = threadIdx.x, warp = t / 32;
  int sum = 0;
  for (int round = 0; round < 2; ++round) {
    if (t % 32 == 0) value[warp] = round;
    __syncwarp();
    sum += value[warp];
    if (!RACE) __syncwarp();
  }
  y[t] = sum;
}

template <bool RACE>
void run_broadcast_twice() {
  const DeviceArray<int> y(64);
  launch_1d(1, 64, broadcast_twice<RACE>, y.data());
}

/// __syncwarp of two lanes orders these two, nobody else.
template <bool RACE>
__global__ void swap_pairs(unsigned char* y) {
  SIMT_SHARED(unsigned char, tile, [32]);
  const unsigned t = threadIdx.x;
  tile[t] = static_cast<unsigned char>(t);
  __syncwarp(3u << t / 2 * 2);
  y[t] = tile[RACE ? t ^ 2 : t ^ 1];
}

template <bool RACE>
void run_swap_pairs() {
  const DeviceArray<unsigned char> y(32);
  launch_1d(1, 32, swap_pairs<RACE>, y.data());
}

/// A shuffle makes lanes wait for each other, and orders none of their memory accesses.
template <bool RACE>
__global__ void write_shuffle_read(int* y) {
  SIMT_SHARED(int, tile, [32]);
  const unsigned t = threadIdx.x;
  tile[t] = 1;
  if (!RACE) __syncwarp();
  const int sum = __shfl_xor_sync(~0u, static_cast<int>(t), 1);
  y[t] = tile[t ^ 1] + sum;
}

template <bool RACE>
void run_write_shuffle_read() {
  const DeviceArray<int> y(32);
  launch_1d(1, 32, write_shuffle_read<RACE>, y.data());
}

/// Two threads write bytes of one word, a third reads the first of them.
template <bool RACE>
__global__ void write_bytes(unsigned char* y) {
  SIMT_SHARED(unsigned char, word, [4]);
  const unsigned t = threadIdx.x / 32;
  if (threadIdx.x % 32 == 0 && t < 2) word[t] = 1;
  if (!RACE) __syncthreads();
  if (threadIdx.x == 64) *y = word[0];
}

template <bool RACE>
void run_write_bytes() {
  const DeviceArray<unsigned char> y(1);
  launch_1d(1, 96, write_bytes<RACE>, y.data());
}

/// Counts in shared memory, which the block reads.
template <bool RACE>
__global__ void count_shared(int* y) {
  SIMT_SHARED(int, count, [1]);
  if (threadIdx.x == 0) count[0] = 0;
  __syncthreads();
  atomicAdd(&count[0], 1);
  if (!RACE) __syncthreads();
  // In the race thread 95 follows its own addition, but not those of the other warps.
  if (threadIdx.x == 95) *y = count[0];
}

template <bool RACE>
void run_count_shared() {
  const DeviceArray<int> y(1);
  launch_1d(1, 96, count_shared<RACE>, y.data());
}

}  // namespace

std::vector<RaceCase> shared_memory_cases() {
  return {RACE_CASE_OF("reverse floats", run_reverse, float, "shared memory + "),
          RACE_CASE_OF("reverse bytes", run_reverse, unsigned char, "shared memory + "),
          RACE_CASE_OF("reverse 16 bits", run_reverse, unsigned short, "shared memory + "),
          RACE_CASE_OF("reverse doubles", run_reverse, double, "shared memory + "),
          RACE_CASE_OF("reverse vectors", run_reverse, Vec4, "shared memory + "),
          RACE_CASE("reduce", run_reduce, "shared memory + "),
          RACE_CASE("reuse dynamic memory", run_reuse_dynamic, "race: write after read"),
          RACE_CASE("broadcast twice", run_broadcast_twice, "race: "),
          RACE_CASE("swap pairs", run_swap_pairs, "race: "),
          RACE_CASE("shuffles order nothing", run_write_shuffle_read, "race: "),
          RACE_CASE("bytes of one word", run_write_bytes, "race: "),
          RACE_CASE("count in shared memory", run_count_shared, "race: read after write")};
}
