// Grid groups: what waits for what, and which launches and kernels are refused. race_grid_group.cu checks
// that right kernels compute the right values.
#include <cuda_runtime.h>

#include "catch.h"
#include "evenkeel/kernels/cuda/grid_group.cuh"
#include "simt/device_array.h"

using namespace simt::test;
using evenkeel::cuda::sync_grid_group;

namespace {

__global__ void wait_once(unsigned* arrivals, int blocks) {
  sync_grid_group(arrivals + blockIdx.x / 4, blocks);
}

/// y: [blocks of the grid, threads], the sums over the grid group's blocks of what each thread has.
__global__ void sum_over_group(unsigned* arrivals, int* y, int* x, int blocks) {
  const unsigned first = blockIdx.x - blockIdx.x % static_cast<unsigned>(blocks);
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  for (int step = 0; step < 3; ++step) {
    x[i] = static_cast<int>(i) + step;
    sync_grid_group(arrivals + first, blocks);
    int sum = 0;
    for (unsigned b = 0; b < static_cast<unsigned>(blocks); ++b)
      sum += x[(first + b) * blockDim.x + threadIdx.x];
    sync_grid_group(arrivals + first, blocks);
    y[i] = sum;
  }
}

void check_sums(unsigned groups, unsigned blocks, unsigned threads) {
  CAPTURE(groups, blocks, threads);
  const unsigned size = groups * blocks * threads;
  const DeviceArray<unsigned> arrivals(std::vector<unsigned>(groups * blocks, 0));
  const DeviceArray<int> x(size), y(size);
  launch_grid_groups(groups, blocks, threads, sum_over_group, arrivals.data(), y.data(), x.data(),
                     static_cast<int>(blocks));
  std::vector<int> expected(size);
  for (unsigned i = 0; i < size; ++i) {
    for (unsigned b = 0, block = i / threads / blocks * blocks; b < blocks; ++b, ++block)
      expected[i] += static_cast<int>(block * threads + i % threads) + 2;
  }
  CHECK(y.values() == expected);
  CHECK(arrivals.values()[0] == (blocks == 1 ? 0 : 6 * blocks));
}

__global__ void wait_for_warp_too(unsigned* arrivals, int* y) {
  SIMT_SHARED(int, sum, [32]);
  const int from_next = __shfl_sync(~0u, static_cast<int>(threadIdx.x), static_cast<int>(threadIdx.x + 1));
  sum[threadIdx.x] = from_next;
  sync_grid_group(arrivals, 2);
  __syncwarp();
  y[blockIdx.x * 32 + threadIdx.x] = sum[31 - threadIdx.x] + from_next;
}

__global__ void leave_early(unsigned* arrivals) {
  if (blockIdx.x != 1) sync_grid_group(arrivals, 4);
}
__global__ void leave_later(unsigned* arrivals) {
  sync_grid_group(arrivals, 4);
  if (blockIdx.x != 2) sync_grid_group(arrivals, 4);
}
__global__ void threads_leave(unsigned* arrivals) {
  if (threadIdx.x < 40) sync_grid_group(arrivals, 4);
}
__global__ void half_waits_for_block(unsigned* arrivals) {
  if (threadIdx.x < 32) {
    sync_grid_group(arrivals, 4);
  } else {
    __syncthreads();
  }
}
__global__ void different_places_in_block(unsigned* arrivals) {
  if (threadIdx.x < 32) {
    sync_grid_group(arrivals, 4);
  } else {
    sync_grid_group(arrivals, 4);
  }
}
__global__ void different_places_in_group(unsigned* arrivals) {
  if (blockIdx.x < 2) {
    sync_grid_group(arrivals, 4);
  } else {
    sync_grid_group(arrivals, 4);
  }
}
__global__ void different_counters(unsigned* arrivals) { sync_grid_group(arrivals + blockIdx.x / 2, 4); }
__global__ void one_counter(unsigned* arrivals) { sync_grid_group(arrivals, 4); }
__global__ void wait_for_ever(unsigned* arrivals) {
  for (;;) sync_grid_group(arrivals, 4);
}

__global__ void share_memory(unsigned* arrivals, int** arrays, int* differences) {
  SIMT_SHARED(int, array, [8]);
  SIMT_DYN_SHARED(int, dynamic);
  if (threadIdx.x == 0) arrays[blockIdx.x] = array;
  array[threadIdx.x] = dynamic[threadIdx.x] = static_cast<int>(blockIdx.x);
  sync_grid_group(arrivals, 4);
  int* const next = arrays[(blockIdx.x + 1) % 4];
  differences[blockIdx.x] =
      static_cast<int>(array == next) + array[0] + dynamic[7] - 2 * static_cast<int>(blockIdx.x);
}

}  // namespace

TEST_CASE("blocks of a grid group wait for each other") {
  check_sums(1, 2, 64);
  check_sums(3, 4, 33);
  check_sums(5, 1, 96);  // groups of one wait for nobody
  check_sums(1, 64, 1);  // the most blocks
}

TEST_CASE("thousands of threads at once") { check_sums(2, 8, 512); }

TEST_CASE("a counter can be used again") {
  const DeviceArray<unsigned> arrivals(std::vector<unsigned>{0});
  for (unsigned i = 1; i < 4; ++i) {
    launch_grid_groups(1, 4, 8, one_counter, arrivals.data());
    CHECK(arrivals.values()[0] == 4 * i);
  }
}

TEST_CASE("waits for the warp and for the grid group") {
  const DeviceArray<unsigned> arrivals(std::vector<unsigned>{0});
  const DeviceArray<int> y(64);
  launch_grid_groups(1, 2, 32, wait_for_warp_too, arrivals.data(), y.data());
  CHECK(y.values()[3] == 29 + 4);
  CHECK(y.values()[63] == 1 + 0);
}

TEST_CASE("each block of a grid group has shared memory of its own") {
  const DeviceArray<unsigned> arrivals(std::vector<unsigned>{0});
  const DeviceArray<int*> arrays(4);
  const DeviceArray<int> differences(4);
  simt::launch({"test", {4, 1, 1}, {8, 1, 1}, 8 * sizeof(int), nullptr, 4}, share_memory, arrivals.data(),
               arrays.data(), differences.data());
  CHECK(differences.values() == std::vector<int>(4, 0));
}

TEST_CASE("launches in grid groups that are refused") {
  const DeviceArray<unsigned> arrivals(std::vector<unsigned>(2, 0));
  const auto launch_grid = [&](unsigned blocks, unsigned group, unsigned threads) {
    simt::launch({"test", {blocks, 1, 1}, {threads, 1, 1}, 0, nullptr, group}, wait_once, arrivals.data(), 4);
  };
  CHECK_FAILS(launch_grid(7, 2, 1), "a grid of 7 blocks in grid groups of 2");
  CHECK_FAILS(launch_grid(7, 0, 1), "a grid of 7 blocks in grid groups of 0");
  CHECK_FAILS(launch_grid(65, 65, 1), "a grid group of 65 blocks of 1 threads; the executor has 64 blocks");
  CHECK_FAILS(launch_grid(34, 17, 1024), "a grid group of 17 blocks of 1024 threads");
  CHECK_FAILS(launch_grid(4, 1, 32), "of 4 blocks, in a launch with grid groups of 1");
  CHECK_FAILS(launch_grid(4, 2, 32), "of 4 blocks, in a launch with grid groups of 2");
}

TEST_CASE("blocks and threads that others wait for in vain") {
  const DeviceArray<unsigned> arrivals(std::vector<unsigned>{0});
  CHECK_FAILS(launch_grid_groups(1, 4, 64, leave_early, arrivals.data()),
              "is never reached by block 1, which has exited");
  CHECK_FAILS(launch_grid_groups(1, 4, 64, leave_later, arrivals.data()),
              "is never reached by block 2, which has exited");
  CHECK_FAILS(launch_grid_groups(1, 4, 64, threads_leave, arrivals.data()),
              "is never reached by 24 threads that have exited");
  CHECK_FAILS(launch_grid_groups(1, 4, 64, half_waits_for_block, arrivals.data()),
              "deadlock: 0 threads have exited; thread 0 and 31 more wait at test_grid_group.cpp:");
  CHECK_FAILS(launch_grid_groups(1, 4, 64, half_waits_for_block, arrivals.data()),
              " for the grid group; thread 32 and ");
  CHECK_FAILS(launch_grid_groups(1, 4, 64, different_places_in_block, arrivals.data()),
              "threads 0 and 32 wait at different sync_grid_group: test_grid_group.cpp:");
  CHECK_FAILS(launch_grid_groups(1, 4, 64, different_places_in_group, arrivals.data()),
              "block 0 and block 2 wait at different sync_grid_group: test_grid_group.cpp:");
  CHECK_FAILS(launch_grid_groups(1, 4, 1, wait_for_ever, arrivals.data()), "a block does not end");
  launch_grid_groups(1, 4, 64, one_counter, arrivals.data());  // none of which harms the next launch
}

TEST_CASE("counters that would not work on a GPU") {
  DeviceArray<unsigned> arrivals(std::vector<unsigned>{0, 3});
  unsigned on_host = 0;
  CHECK_FAILS(launch_grid_groups(1, 4, 32, different_counters, arrivals.data()),
              "is not the same for block 0 and block 2");
  CHECK_FAILS(launch_grid_groups(2, 4, 32, one_counter, arrivals.data()),
              "is that of two grid groups, of blocks 0 and 4");
  CHECK_FAILS(launch_grid_groups(1, 4, 32, one_counter, &on_host), "is not in device memory");
  CHECK_FAILS(launch_grid_groups(1, 4, 32, one_counter, arrivals.data() + 1),
              "was 3, not a multiple of the grid group's 4");
}
