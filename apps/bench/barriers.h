// What it costs that the blocks of a launch wait for each other (kernels/cuda/grid_group.cuh), to be measured
// beside cooperative groups. CUDA only.
#pragma once

#include "evenkeel/kernels/common.h"

namespace evenkeel::bench {

/// `count` barriers in a row, of `blocks` blocks, all of which must be resident at once.
struct BarriersArgs {
  unsigned* arrivals;  // [1] in the device's memory, a multiple of `blocks`; moved on by count * blocks
  int blocks, count;
};

/// By the library's sync_grid_group. Throws std::runtime_error if the kernel cannot be launched.
void grid_group_barriers(const BarriersArgs& args, Stream stream);
/// The same barriers by cooperative groups. False, and nothing is done, in builds that have none: EMULATED.
bool cooperative_groups_barriers(const BarriersArgs& args, Stream stream);

}  // namespace evenkeel::bench
