// What it costs that the blocks of a team wait for each other (kernels/cuda/team.cuh), to be measured beside
// cooperative groups. CUDA only.
#pragma once

#include "evenkeel/kernels/common.h"

namespace evenkeel {

/// `count` barriers in a row, of `blocks` blocks, all of which must be resident at once.
struct TeamBarriersArgs {
  unsigned* arrivals;  // [1] in the device's memory, a multiple of `blocks`; moved on by count * blocks
  int blocks, count;
};

namespace cuda {
void team_barriers(const TeamBarriersArgs& args, Stream stream);
/// The same barriers by cooperative groups. False, and nothing is done, in builds that have none: EMULATED.
bool cooperative_groups_barriers(const TeamBarriersArgs& args, Stream stream);
}  // namespace cuda

}  // namespace evenkeel
