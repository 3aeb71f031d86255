// Cases of test_race.cpp in global memory, and kernels that touch what is not the device's.
#include <cuda_runtime.h>

#include "simt/device_array.h"
#include "simt/race_kernels.h"

using namespace simt::test;

namespace {

struct alignas(16) Vec4 {
  float v[4];
};

/// The race: the stride of one block for all of them.
template <typename T, bool RACE>
__global__ void copy_grid_stride(T* y, const T* x, int n) {
  const unsigned stride = (RACE ? 1 : gridDim.x) * blockDim.x;
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < static_cast<unsigned>(n); i += stride)
    y[i] = x[i];
}

template <typename T, bool RACE>
void run_copy() {
  const DeviceArray<T> x(std::vector<T>(1001)), y(1001);
  launch_1d(3, 64, copy_grid_stride<T, RACE>, y.data(), x.data(), 1001);
  launch_1d(2, 96, copy_grid_stride<T, false>, y.data(), x.data(), 1001);
}

/// The race: every block reads what the others add to.
template <bool RACE>
__global__ void count_global(int* count, int* y) {
  atomicAdd(count, 1);
  __syncthreads();
  if (RACE && threadIdx.x == 0) y[blockIdx.x] = *count;
}

template <bool RACE>
void run_count_global() {
  const DeviceArray<int> count(std::vector<int>{0}), y(4);
  launch_1d(4, 64, count_global<RACE>, count.data(), y.data());
}

/// The last block, which alone reads, has added to the count itself: the other blocks' additions race.
template <bool RACE>
__global__ void count_then_read(int* count, int* y) {
  if (threadIdx.x == 0) atomicAdd(count, 1);
  __syncthreads();
  if (RACE && blockIdx.x == gridDim.x - 1 && threadIdx.x == 0) *y = *count;
}

template <bool RACE>
void run_count_then_read() {
  const DeviceArray<int> count(std::vector<int>{0}), y(1);
  launch_1d(3, 32, count_then_read<RACE>, count.data(), y.data());
}

/// The race: a block reads its neighbour's results.
template <bool RACE>
__global__ void scale_in_place(float* x) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (RACE && i > 0 && threadIdx.x == 0) x[i] += x[i - 1];
  x[i] *= 2;
}

template <bool RACE>
void run_scale_in_place() {
  const DeviceArray<float> x(std::vector<float>(128, 1));
  launch_1d(2, 64, scale_in_place<RACE>, x.data());
}

/// All blocks read an element; the race: the last one then writes it.
template <bool RACE>
__global__ void read_then_write(int* x, int* y) {
  if (threadIdx.x == 0) y[blockIdx.x] = *x;
  if (RACE && blockIdx.x == gridDim.x - 1 && threadIdx.x == 0) *x = 1;
}

template <bool RACE>
void run_read_then_write() {
  const DeviceArray<int> x(std::vector<int>{0}), y(3);
  launch_1d(3, 32, read_then_write<RACE>, x.data(), y.data());
}

struct Parameters {
  int offsets[1000];
  float* y;
};
static_assert(sizeof(Parameters) > 4000 && sizeof(Parameters) <= 4096);

__global__ void take_parameters(Parameters p) {
  const unsigned t = threadIdx.x;
  p.offsets[t] += 1;  // a thread's own copy
  p.y[blockIdx.x * 64 + t] = static_cast<float>(p.offsets[t]);
}

void run_take_parameters(bool) {
  const DeviceArray<float> y(128);
  Parameters p{};
  p.y = y.data();
  launch_1d(2, 64, take_parameters, p);
}

constexpr float kTable[8] = {1, 2, 4, 8, 16, 32, 64, 128};

__global__ void look_up(float* y) {
  static constexpr int kOrder[4] = {3, 1, 0, 2};
  float local[4];
  for (unsigned i = 0; i < 4; ++i) local[i] = kTable[(threadIdx.x + i) % 8];
  y[threadIdx.x] = local[kOrder[threadIdx.x % 4]];
}

void run_look_up(bool) {
  const DeviceArray<float> y(32);
  launch_1d(1, 32, look_up, y.data());
}

int host_variable = 0;

__global__ void set(int* p) {
  if (threadIdx.x == 0) *p = 1;
}
__global__ void get(int* y, const int* p) {
  if (threadIdx.x == 0) *y = *p;
}

template <bool RACE>
void run_set_global_variable() {
  const DeviceArray<int> y(1);
  launch_1d(1, 32, set, RACE ? &host_variable : y.data());
}
template <bool RACE>
void run_get_global_variable() {
  const DeviceArray<int> x(std::vector<int>{1}), y(1);
  launch_1d(1, 32, get, y.data(), RACE ? &host_variable : x.data());
}
template <bool RACE>
void run_get_from_heap() {
  const std::vector<int> heap(1000);
  const DeviceArray<int> x(std::vector<int>{1}), y(1);
  launch_1d(1, 32, get, y.data(), RACE ? heap.data() : x.data());
}
template <bool RACE>
void run_get_past_the_end() {
  const DeviceArray<int> x(std::vector<int>{1}), y(1);
  launch_1d(1, 32, get, y.data(), x.data() + (RACE ? 1 : 0));
}

}  // namespace

std::vector<RaceCase> global_memory_cases() {
  return {RACE_CASE_OF("copy floats", run_copy, float, "race: two writes to device block of 4004 bytes"),
          RACE_CASE_OF("copy bytes", run_copy, unsigned char, "of another block"),
          RACE_CASE_OF("copy 16 bits", run_copy, unsigned short, "of another block"),
          RACE_CASE_OF("copy doubles", run_copy, double, "of another block"),
          RACE_CASE_OF("copy vectors", run_copy, Vec4, "of another block"),
          RACE_CASE("count", run_count_global, "of another block"),
          RACE_CASE("count, then read", run_count_then_read, "race: read after write"),
          RACE_CASE("scale in place", run_scale_in_place, "of another block"),
          RACE_CASE("read, then write", run_read_then_write, "race: write after read"),
          {"parameters of 4 KB", run_take_parameters, nullptr},
          {"tables", run_look_up, nullptr},
          RACE_CASE("write a host variable", run_set_global_variable, "write of the host's memory"),
          RACE_CASE("read a host variable", run_get_global_variable, "read of the host's memory"),
          RACE_CASE("read the heap", run_get_from_heap, "read of the host's memory"),
          RACE_CASE("read past the end", run_get_past_the_end, "access of 4 bytes past the end")};
}
