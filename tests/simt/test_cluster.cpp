// Clusters of blocks: what waits for what, and which launches and kernels are refused. That right kernels
// leave the right values is in race_cluster.cu.
#include <cuda_runtime.h>

#include "catch.h"
#include "evenkeel/kernels/cuda/cluster.cuh"
#include "evenkeel/kernels/cuda/grid_group.cuh"
#include "simt/device_array.h"

using namespace simt::test;
using evenkeel::cuda::cluster_rank;
using evenkeel::cuda::cluster_size;
using evenkeel::cuda::in_cluster;
using evenkeel::cuda::sync_cluster;
using evenkeel::cuda::sync_grid_group;

namespace {

template <typename... Parameters, typename... Arguments>
void launch_clusters(unsigned blocks, unsigned group, unsigned cluster, void (*kernel)(Parameters...),
                     const Arguments&... arguments) {
  simt::launch({"test", {blocks, 1, 1}, {64, 1, 1}, 64 * sizeof(int), nullptr, group, cluster}, kernel,
               arguments...);
}

/// y [blocks]: the sum of the numbers of the cluster's blocks, and its size.
__global__ void sum_over_cluster(int* y) {
  SIMT_DYN_SHARED(int, numbers);
  numbers[threadIdx.x] = static_cast<int>(blockIdx.x);
  sync_cluster();
  int sum = 100 * cluster_size();
  for (int rank = 0; rank < cluster_size(); ++rank) sum += in_cluster(numbers, rank)[threadIdx.x];
  sync_cluster();
  if (threadIdx.x == 0) y[blockIdx.x] = sum + 1000 * cluster_rank();
}

__global__ void leave_early(unsigned*) {
  if (blockIdx.x != 1) sync_cluster();
}
__global__ void wait_for_group_early(unsigned* arrivals) {
  if (blockIdx.x != 1) sync_cluster();
  sync_grid_group(arrivals, 4);
}
__global__ void one_cluster_leaves(unsigned* arrivals) {
  sync_cluster();
  if (blockIdx.x < 2) sync_grid_group(arrivals, 4);
}
__global__ void threads_leave(unsigned*) {
  if (threadIdx.x < 40) sync_cluster();
}
__global__ void half_waits_for_block(unsigned*) {
  if (threadIdx.x < 32) {
    sync_cluster();
  } else {
    __syncthreads();
  }
}
__global__ void half_waits_for_group(unsigned* arrivals) {
  if (threadIdx.x < 32) {
    sync_cluster();
  } else {
    sync_grid_group(arrivals, 4);
  }
}
__global__ void different_places(unsigned*) {
  if (blockIdx.x % 2 == 0) {
    sync_cluster();
  } else {
    sync_cluster();
  }
}
__global__ void one_cluster_waits_more(unsigned* arrivals) {
  for (unsigned i = 0; i < blockIdx.x / 2; ++i) sync_cluster();
  sync_grid_group(arrivals, 4);
}
__global__ void no_such_block(unsigned*) {
  SIMT_DYN_SHARED(int, tile);
  *in_cluster(tile, 2) = 1;
}
__global__ void declared_array(unsigned*) {
  SIMT_SHARED(int, tile, [64]);
  *in_cluster(&tile[0], 0) = 1;
}

}  // namespace

TEST_CASE("blocks of a cluster wait for each other and read each other's memory") {
  const DeviceArray<int> y(8);
  launch_clusters(8, 8, 2, sum_over_cluster, y.data());
  CHECK(y.values() == std::vector<int>{201, 1201, 205, 1205, 209, 1209, 213, 1213});
  launch_clusters(8, 4, 4, sum_over_cluster, y.data());
  CHECK(y.values() == std::vector<int>{406, 1406, 2406, 3406, 422, 1422, 2422, 3422});
  launch_clusters(8, 1, 1, sum_over_cluster, y.data());  // in a cluster of its own a block waits for nobody
  CHECK(y.values() == std::vector<int>{100, 101, 102, 103, 104, 105, 106, 107});
}

TEST_CASE("launches in clusters that are refused") {
  const DeviceArray<int> y(18);
  CHECK_FAILS(launch_clusters(6, 3, 2, sum_over_cluster, y.data()),
              "a grid group of 3 blocks in clusters of 2");
  CHECK_FAILS(launch_clusters(6, 6, 0, sum_over_cluster, y.data()),
              "a grid group of 6 blocks in clusters of 0");
  CHECK_FAILS(launch_clusters(18, 18, 9, sum_over_cluster, y.data()), "in clusters of 9; 8 are the most");
}

TEST_CASE("blocks and threads of a cluster that others wait for in vain") {
  const DeviceArray<unsigned> arrivals(std::vector<unsigned>{0});
  const auto launch_kernel = [&](void (*kernel)(unsigned*)) {
    launch_clusters(4, 4, 2, kernel, arrivals.data());
  };
  CHECK_FAILS(launch_kernel(leave_early), "is never reached by block 1, which has exited");
  CHECK_FAILS(launch_kernel(wait_for_group_early),
              "is never reached by block 1, which waits at sync_grid_group at");
  CHECK_FAILS(launch_kernel(one_cluster_leaves), "is never reached by block 2, which has exited");
  CHECK_FAILS(launch_kernel(threads_leave), "sync_cluster at test_cluster.cpp:");
  CHECK_FAILS(launch_kernel(threads_leave), "is never reached by 24 threads that have exited");
  CHECK_FAILS(launch_kernel(half_waits_for_block), " for the cluster; thread 32 and 31 more wait at ");
  CHECK_FAILS(launch_kernel(half_waits_for_group), "threads 0 and 32 wait at different sync_cluster: ");
  CHECK_FAILS(launch_kernel(different_places), " wait at different sync_cluster: test_cluster.cpp:");
  launch_kernel(one_cluster_waits_more);  // clusters do not wait for each other
  CHECK(arrivals.values()[0] == 4);
}

TEST_CASE("memory that a cluster does not share is refused") {
  const DeviceArray<unsigned> arrivals(std::vector<unsigned>{0});
  CHECK_FAILS(launch_clusters(2, 2, 2, no_such_block, arrivals.data()), "block 2 of a cluster of 2");
  CHECK_FAILS(launch_clusters(2, 2, 2, declared_array, arrivals.data()), "only dynamic shared memory");
}
