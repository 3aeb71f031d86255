// Grid groups: neighbouring blocks of one launch that can wait for each other (LaunchConfig::grid_group).
#pragma once

#include <cuda_runtime.h>

namespace evenkeel::cuda {

#ifdef __CUDACC__

// Two leaf functions of PTX, which the SIMT executor has no part in.

/// Adds 1 after all that came before it; returns what was there.
__device__ __forceinline__ unsigned arrive_release(unsigned* arrivals) {
  unsigned before;
  asm volatile("atom.add.release.gpu.u32 %0, [%1], 1;" : "=r"(before) : "l"(arrivals) : "memory");
  return before;
}
/// Reads before all that comes after it.
__device__ __forceinline__ unsigned load_acquire(const unsigned* arrivals) {
  unsigned value;
  asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(value) : "l"(arrivals) : "memory");
  return value;
}

/// Waits for all blocks of the grid group. What their threads wrote to device memory before, all of them see
/// after: the first __syncthreads orders a block's writes before its first thread's release, which is
/// cumulative, and the second one what its threads do next after the acquire. Call: all threads of all blocks
/// of the group, with the launch's number of blocks a group. arrivals: a counter of the group alone in device
/// memory, 0 at launch or the value after launches with groups of this size. It counts up, one a block and
/// barrier: past 2^32 only where `blocks` is a power of two.
__device__ __forceinline__ void sync_grid_group(unsigned* arrivals, int blocks) {
  __syncthreads();
  if (blocks == 1) return;
  if (threadIdx.x == 0) {  // blocks are one-dimensional
    const unsigned size = static_cast<unsigned>(blocks), before = arrive_release(arrivals);
    const unsigned complete = before - before % size + size;
    while (static_cast<int>(load_acquire(arrivals) - complete) < 0) {
    }
  }
  __syncthreads();
}

#else

inline void sync_grid_group(unsigned* arrivals, int blocks, SIMT_HERE) {
  simt::sync_grid_group(arrivals, blocks, site);
}

#endif

}  // namespace evenkeel::cuda
