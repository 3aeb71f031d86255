#include "bench/barriers.h"

#ifdef __CUDACC__
#  include <cooperative_groups.h>
#endif

#include "evenkeel/kernels/cuda/grid_group.cuh"
#include "evenkeel/kernels/cuda/simt.h"

namespace evenkeel::bench {
namespace {

constexpr int kThreads = 512;  // as most networks in apps/mnist/one_kernel.cu have

/// Bytes: none but the counter's.
__global__ void __launch_bounds__(kThreads, 1) grid_group_barriers_kernel(const BarriersArgs a) {
  for (int i = 0; i < a.count; ++i) cuda::sync_grid_group(a.arrivals, a.blocks);
}

#ifdef __CUDACC__
__global__ void __launch_bounds__(kThreads, 1) cooperative_groups_barriers_kernel(const BarriersArgs a) {
  const cooperative_groups::grid_group grid = cooperative_groups::this_grid();
  for (int i = 0; i < a.count; ++i) grid.sync();
}
#endif

/// A launch of blocks that all wait for each other.
cuda::LaunchConfig one_grid_group(const BarriersArgs& a, Stream stream) {
  cuda::LaunchConfig config{a.blocks, kThreads, 0, stream};
  config.grid_group = a.blocks;
  return config;
}

}  // namespace

void grid_group_barriers(const BarriersArgs& a, Stream stream) {
  cuda::launch("grid_group_barriers", grid_group_barriers_kernel, one_grid_group(a, stream), a);
}

bool cooperative_groups_barriers([[maybe_unused]] const BarriersArgs& a, [[maybe_unused]] Stream stream) {
#ifdef __CUDACC__
  cuda::launch("cooperative_groups_barriers", cooperative_groups_barriers_kernel, one_grid_group(a, stream),
               a);
  return true;
#else
  return false;
#endif
}

}  // namespace evenkeel::bench
