#include "evenkeel/kernels/team.h"

#ifdef __CUDACC__
#  include <cooperative_groups.h>
#endif

#include "evenkeel/kernels/cuda/simt.h"
#include "evenkeel/kernels/cuda/team.cuh"

namespace evenkeel::cuda {
namespace {

constexpr int kThreads = 512;  // as most networks of train_net.cu have

/// Bytes: none but the counter's.
__global__ void __launch_bounds__(kThreads, 1) team_barriers_kernel(const TeamBarriersArgs a) {
  for (int i = 0; i < a.count; ++i) sync_team(a.arrivals, a.blocks);
}

#ifdef __CUDACC__
__global__ void __launch_bounds__(kThreads, 1) cooperative_groups_barriers_kernel(const TeamBarriersArgs a) {
  const cooperative_groups::grid_group grid = cooperative_groups::this_grid();
  for (int i = 0; i < a.count; ++i) grid.sync();
}
#endif

LaunchConfig one_team(const TeamBarriersArgs& a, Stream stream) {
  LaunchConfig config{a.blocks, kThreads, 0, stream};
  config.team = a.blocks;
  return config;
}

}  // namespace

void team_barriers(const TeamBarriersArgs& a, Stream stream) {
  launch("team_barriers", team_barriers_kernel, one_team(a, stream), a);
}

bool cooperative_groups_barriers([[maybe_unused]] const TeamBarriersArgs& a, [[maybe_unused]] Stream stream) {
#ifdef __CUDACC__
  launch("cooperative_groups_barriers", cooperative_groups_barriers_kernel, one_team(a, stream), a);
  return true;
#else
  return false;
#endif
}

}  // namespace evenkeel::cuda
