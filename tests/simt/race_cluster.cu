// Cases of test_race.cpp in which blocks of a cluster use each other's shared memory.
#include <cuda_runtime.h>

#include "evenkeel/kernels/cuda/cluster.cuh"
#include "evenkeel/kernels/cuda/grid_group.cuh"
#include "simt/device_array.h"
#include "simt/race_kernels.h"

using namespace simt::test;
using evenkeel::cuda::cluster_rank;
using evenkeel::cuda::in_cluster;
using evenkeel::cuda::sync_cluster;
using evenkeel::cuda::sync_grid_group;

namespace {

constexpr int kCluster = 2, kGroup = 4, kGroups = 2, kThreads = 70, kBlocks = kGroups * kGroup;

void expect(bool right) {
  if (!right) throw simt::Failure("wrong values");
}

/// Two grid groups of two clusters; a block has an int of shared memory for each thread.
template <typename... Parameters, typename... Arguments>
void launch_clusters(void (*kernel)(Parameters...), const Arguments&... arguments) {
  const DeviceArray<unsigned> arrivals(std::vector<unsigned>(kGroups, 0));
  simt::launch({"test", {kBlocks, 1, 1}, {kThreads, 1, 1}, kThreads * sizeof(int), nullptr, kGroup, kCluster},
               kernel, arrivals.data(), arguments...);
}

__device__ unsigned element(unsigned block) { return block * kThreads + threadIdx.x; }
__device__ int* other(int* mine) { return in_cluster(mine, 1 - cluster_rank()); }

/// y is what the other block has written. The race: no sync_cluster between.
template <bool RACE>
__global__ void read_other(unsigned*, int* y) {
  SIMT_DYN_SHARED(int, tile);
  sync_cluster();
  tile[threadIdx.x] = static_cast<int>(element(blockIdx.x));
  if (!RACE) sync_cluster();
  y[element(blockIdx.x)] = other(tile)[threadIdx.x];
  sync_cluster();
}

template <bool RACE>
void run_read_other() {
  const DeviceArray<int> y(kBlocks * kThreads);
  launch_clusters(read_other<RACE>, y.data());
  for (int i = 0; i < kBlocks * kThreads; ++i)
    expect(y.values()[static_cast<std::size_t>(i)] == (i / kThreads ^ 1) * kThreads + i % kThreads);
}

/// Five times the blocks of a cluster exchange their tiles. The race: a block writes what the other one still
/// reads.
template <bool RACE>
__global__ void exchange(unsigned*, int* y) {
  SIMT_DYN_SHARED(int, tile);
  int value = static_cast<int>(element(blockIdx.x));
  sync_cluster();
  for (int step = 0; step < 5; ++step) {
    other(tile)[threadIdx.x] = value;
    sync_cluster();
    value = tile[kThreads - 1 - threadIdx.x];
    RACE ? __syncthreads() : sync_cluster();
  }
  y[element(blockIdx.x)] = value;
}

template <bool RACE>
void run_exchange() {
  const DeviceArray<int> y(kBlocks * kThreads);
  launch_clusters(exchange<RACE>, y.data());
  for (int i = 0; i < kBlocks * kThreads; ++i)
    expect(y.values()[static_cast<std::size_t>(i)] ==
           (i / kThreads ^ 1) * kThreads + kThreads - 1 - i % kThreads);
}

/// Blocks of a cluster hand over global memory. The race: a block of another cluster reads it too, before the
/// sync_grid_group.
template <bool RACE>
__global__ void hand_over(unsigned* arrivals, int* x, int* y) {
  const unsigned group = blockIdx.x / kGroup, first = group * kGroup;
  sync_cluster();
  if (blockIdx.x % kCluster == 0) x[element(blockIdx.x)] = static_cast<int>(blockIdx.x);
  sync_cluster();
  int sum = 0;
  if (blockIdx.x % kCluster == 1) sum = x[element(blockIdx.x - 1)];
  if (!RACE) sync_grid_group(arrivals + group, kGroup);
  sum += x[element(first)] + x[element(first + kCluster)];
  y[element(blockIdx.x)] = sum;
  if (RACE) sync_grid_group(arrivals + group, kGroup);
}

template <bool RACE>
void run_hand_over() {
  const DeviceArray<int> x(kBlocks * kThreads), y(kBlocks * kThreads);
  launch_clusters(hand_over<RACE>, x.data(), y.data());
  expect(y.values()[5 * kThreads] == 4 + 4 + 6);
}

/// The race: of the reads that a write replaces, those of another cluster came neither first nor last.
template <bool RACE>
__global__ void write_after_reads(unsigned* arrivals, int* x, int* y) {
  const unsigned group = blockIdx.x / kGroup, rank = blockIdx.x % kGroup;
  int* const mine = x + group;
  if (rank == 0) y[element(blockIdx.x)] = *mine;
  sync_grid_group(arrivals + group, kGroup);
  if (rank == 3 || (RACE && rank == 0)) y[element(blockIdx.x)] = *mine;
  sync_cluster();
  if (rank == 2) y[element(blockIdx.x)] = *mine;
  sync_cluster();
  if (rank == 3 && threadIdx.x == 0) *mine = 7;
}

template <bool RACE>
void run_write_after_reads() {
  const DeviceArray<int> x(std::vector<int>(kGroups, 3)), y(kBlocks * kThreads);
  launch_clusters(write_after_reads<RACE>, x.data(), y.data());
  expect(x.values() == std::vector<int>(kGroups, 7) && y.values()[3 * kThreads] == 3);
}

/// The fault: the other block may not have started.
template <bool RACE>
__global__ void write_at_once(unsigned*, int* y) {
  SIMT_DYN_SHARED(int, tile);
  if (!RACE) sync_cluster();
  other(tile)[threadIdx.x] = static_cast<int>(blockIdx.x);
  sync_cluster();
  y[element(blockIdx.x)] = tile[threadIdx.x];
}

template <bool RACE>
void run_write_at_once() {
  const DeviceArray<int> y(kBlocks * kThreads);
  launch_clusters(write_at_once<RACE>, y.data());
  expect(y.values()[3 * kThreads] == 2);
}

/// The fault: the other block may be gone.
template <bool RACE>
__global__ void read_at_last(unsigned*, int* y) {
  SIMT_DYN_SHARED(int, tile);
  tile[threadIdx.x] = static_cast<int>(blockIdx.x);
  sync_cluster();
  y[element(blockIdx.x)] = other(tile)[threadIdx.x];
  if (!RACE) sync_cluster();
}

template <bool RACE>
void run_read_at_last() {
  const DeviceArray<int> y(kBlocks * kThreads);
  launch_clusters(read_at_last<RACE>, y.data());
  expect(y.values()[3 * kThreads] == 2);
}

/// The fault: memory of a block of another cluster, to which an address leads.
template <bool RACE>
__global__ void share_address(unsigned* arrivals, int** tiles, int* y) {
  SIMT_DYN_SHARED(int, tile);
  const unsigned group = blockIdx.x / kGroup, next = (blockIdx.x + (RACE ? 2 : 0)) % kGroup;
  tile[threadIdx.x] = static_cast<int>(blockIdx.x);
  if (threadIdx.x == 0) tiles[blockIdx.x] = tile;
  sync_grid_group(arrivals + group, kGroup);
  y[element(blockIdx.x)] = tiles[group * kGroup + next][threadIdx.x];
  sync_grid_group(arrivals + group, kGroup);
}

template <bool RACE>
void run_share_address() {
  const DeviceArray<int*> tiles(kBlocks);
  const DeviceArray<int> y(kBlocks * kThreads);
  launch_clusters(share_address<RACE>, tiles.data(), y.data());
  expect(y.values()[3 * kThreads] == 3);
}

}  // namespace

std::vector<RaceCase> cluster_cases() {
  return {RACE_CASE("read the other block's", run_read_other, "race: "),
          RACE_CASE("exchange", run_exchange, "race: "),
          RACE_CASE("hand over", run_hand_over, "of another block"),
          RACE_CASE("write after reads", run_write_after_reads, "race: "),
          RACE_CASE("write at once", run_write_at_once, "may not have started"),
          RACE_CASE("read at last", run_read_at_last, "may have exited"),
          RACE_CASE("another cluster's shared memory", run_share_address, "another block's shared memory")};
}
