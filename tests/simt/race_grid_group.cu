// Cases of test_race.cpp in which blocks of a grid group wait for each other.
#include <cuda_runtime.h>

#include <numeric>

#include "evenkeel/kernels/cuda/grid_group.cuh"
#include "simt/device_array.h"
#include "simt/race_kernels.h"

using namespace simt::test;
using evenkeel::cuda::sync_grid_group;

namespace {

constexpr int kGroup = 4, kGroups = 2, kThreads = 70, kBlocks = kGroups * kGroup;

void expect(bool right) {
  if (!right) throw simt::Failure("wrong values");
}

DeviceArray<unsigned> counters() { return DeviceArray<unsigned>(std::vector<unsigned>(kGroups, 0)); }

template <typename... Parameters, typename... Arguments>
void launch_two_groups(void (*kernel)(Parameters...), const Arguments&... arguments) {
  const DeviceArray<unsigned> arrivals = counters();
  launch_grid_groups(kGroups, kGroup, kThreads, kernel, arrivals.data(), arguments...);
}

/// The thread's element in arrays of kThreads a block, of the block `next` places on in the
/// grid group.
__device__ unsigned element(unsigned next) {
  const unsigned block = blockIdx.x / kGroup * kGroup + (blockIdx.x + next) % kGroup;
  return block * kThreads + threadIdx.x;
}

/// The race: no sync_grid_group between the write and the neighbour's read.
template <bool RACE>
__global__ void read_neighbour(unsigned* arrivals, int* y, int* x) {
  x[element(0)] = static_cast<int>(element(0));
  if (!RACE) sync_grid_group(arrivals + blockIdx.x / kGroup, kGroup);
  y[element(0)] = x[element(1)];
}

template <bool RACE>
void run_read_neighbour() {
  const DeviceArray<int> x(kBlocks * kThreads), y(kBlocks * kThreads);
  launch_two_groups(read_neighbour<RACE>, y.data(), x.data());
  for (int i = 0; i < kBlocks * kThreads; ++i) {
    const int block = i / kThreads, next = block / kGroup * kGroup + (block + 1) % kGroup;
    expect(y.values()[static_cast<std::size_t>(i)] == next * kThreads + i % kThreads);
  }
}

/// Each step the blocks of a grid group take over their neighbours' values. The race: no sync_grid_group
/// before the values are replaced.
template <bool RACE>
__global__ void rotate_blocks(unsigned* arrivals, int* x) {
  unsigned* const counter = arrivals + blockIdx.x / kGroup;
  for (int step = 0; step < 5; ++step) {
    const int next = x[element(1)];
    if (!RACE) sync_grid_group(counter, kGroup);
    x[element(0)] = next;
    sync_grid_group(counter, kGroup);
  }
}

template <bool RACE>
void run_rotate_blocks() {
  const DeviceArray<int> x(iota<int>(kBlocks * kThreads));
  launch_two_groups(rotate_blocks<RACE>, x.data());
  for (int i = 0; i < kBlocks * kThreads; ++i) {
    const int block = i / kThreads, from = block / kGroup * kGroup + (block + 5) % kGroup;
    expect(x.values()[static_cast<std::size_t>(i)] == from * kThreads + i % kThreads);
  }
}

/// Each block scales its part of x, which it keeps in shared memory, by the grid group's sum. The race: the
/// block overwrites its sum before the others have read it.
template <bool RACE>
__global__ void scale_by_sum(unsigned* arrivals, int* x, int* sums) {
  SIMT_SHARED(int, tile, [kThreads]);
  SIMT_SHARED(int, sum, );
  unsigned* const counter = arrivals + blockIdx.x / kGroup;
  tile[threadIdx.x] = x[element(0)];
  __syncthreads();
  if (threadIdx.x == 0) {
    sum = 0;
    for (const int value : tile) sum += value;
    sums[blockIdx.x] = sum;
  }
  sync_grid_group(counter, kGroup);
  int total = 0;
  for (unsigned i = 0; i < kGroup; ++i) total += sums[element(i) / kThreads];
  RACE ? __syncthreads() : sync_grid_group(counter, kGroup);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum - total;
  x[element(0)] = tile[kThreads - 1 - threadIdx.x] * total;
}

template <bool RACE>
void run_scale_by_sum() {
  const DeviceArray<int> x(iota<int>(kBlocks * kThreads)), sums(kBlocks);
  launch_two_groups(scale_by_sum<RACE>, x.data(), sums.data());
  std::vector<int> before = iota<int>(kGroup * kThreads);
  const int total = std::accumulate(before.begin(), before.end(), 0);
  expect(x.values()[1] == (kThreads - 2) * total);
  expect(sums.values()[0] == (kThreads - 1) * kThreads / 2 - total);
}

/// y: [kGroups]. The race: all grid groups write one element.
template <bool RACE>
__global__ void write_one(unsigned* arrivals, int* y) {
  sync_grid_group(arrivals + blockIdx.x / kGroup, kGroup);
  if (blockIdx.x % kGroup == 1 && threadIdx.x == 5) y[RACE ? 0 : blockIdx.x / kGroup] = 1;
}

template <bool RACE>
void run_write_one() {
  const DeviceArray<int> y(kGroups);
  launch_two_groups(write_one<RACE>, y.data());
  expect(y.values() == std::vector<int>(kGroups, 1));
}

/// All blocks of the last grid group read x, and one writes it after a sync_grid_group. The race: the first
/// group reads it too, which the newer reads hide.
template <bool RACE>
__global__ void read_then_write(unsigned* arrivals, int* x, int* y) {
  const unsigned group = blockIdx.x / kGroup;
  const bool last = group == kGroups - 1;
  if (RACE || last) y[element(0)] = *x;
  sync_grid_group(arrivals + group, kGroup);
  if (last && blockIdx.x % kGroup == 2 && threadIdx.x == 0) *x = 7;
}

template <bool RACE>
void run_read_then_write() {
  const DeviceArray<int> x(std::vector<int>{3}), y(kBlocks * kThreads);
  launch_two_groups(read_then_write<RACE>, x.data(), y.data());
  expect(x.values()[0] == 7 && y.values()[kBlocks * kThreads - 1] == 3);
}

/// The race: all grid groups count in one element, which the last one reads.
template <bool RACE>
__global__ void count_in_group(unsigned* arrivals, int* counts, int* y) {
  const unsigned group = blockIdx.x / kGroup;
  int* const count = counts + (RACE ? 0 : group);
  atomicAdd(count, 1);
  sync_grid_group(arrivals + group, kGroup);
  if (group == kGroups - 1) y[element(0)] = *count;
}

template <bool RACE>
void run_count_in_group() {
  const DeviceArray<int> counts(std::vector<int>(kGroups, 0)), y(kBlocks * kThreads);
  launch_two_groups(count_in_group<RACE>, counts.data(), y.data());
  expect(y.values()[kBlocks * kThreads - 1] == kGroup * kThreads);
}

/// The race: the count is read while other blocks still add to it, in a later phase than the first.
template <bool RACE>
__global__ void count_twice(unsigned* arrivals, int* counts, int* y) {
  const unsigned group = blockIdx.x / kGroup;
  atomicAdd(counts + group, 1);
  sync_grid_group(arrivals + group, kGroup);
  atomicAdd(counts + group, 1);
  if (!RACE) sync_grid_group(arrivals + group, kGroup);
  __syncthreads();
  if (threadIdx.x == 0) y[blockIdx.x] = counts[group];
}

template <bool RACE>
void run_count_twice() {
  const DeviceArray<int> counts(std::vector<int>(kGroups, 0)), y(kBlocks);
  launch_two_groups(count_twice<RACE>, counts.data(), y.data());
  expect(y.values() == std::vector<int>(kBlocks, 2 * kGroup * kThreads));
}

/// The race: each block reads the array of block 0, to which an address leads.
template <bool RACE>
__global__ void share_address(unsigned* arrivals, int** arrays, int* y) {
  SIMT_SHARED(int, array, [kThreads]);
  array[threadIdx.x] = static_cast<int>(blockIdx.x);
  if (threadIdx.x == 0) arrays[blockIdx.x] = array;
  sync_grid_group(arrivals + blockIdx.x / kGroup, kGroup);
  y[element(0)] = arrays[element(RACE ? 1 : 0) / kThreads][threadIdx.x];
}

template <bool RACE>
void run_share_address() {
  const DeviceArray<int*> arrays(kBlocks);
  const DeviceArray<int> y(kBlocks * kThreads);
  launch_two_groups(share_address<RACE>, arrays.data(), y.data());
  expect(y.values()[kThreads] == 1);
}

}  // namespace

std::vector<RaceCase> grid_group_cases() {
  return {RACE_CASE("write, then read the neighbour's", run_read_neighbour, "of another block"),
          RACE_CASE("rotate blocks", run_rotate_blocks, "race: write after read"),
          RACE_CASE("scale by the sum", run_scale_by_sum, "of another block"),
          RACE_CASE("write one element", run_write_one, "of another grid group"),
          RACE_CASE("read, then write", run_read_then_write, "race: write after read"),
          RACE_CASE("count in a grid group", run_count_in_group, "race: read after write"),
          RACE_CASE("count twice", run_count_twice, "of another block"),
          RACE_CASE("another block's shared memory", run_share_address, "another block's shared memory")};
}
