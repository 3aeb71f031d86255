// Clusters: neighbouring blocks of a grid group (LaunchConfig::cluster) that use each other's dynamic shared
// memory. GPUs of compute capability 9.0 and later have them; elsewhere, and in launches without, every block
// is a cluster of its own.
#pragma once

#include <cuda_runtime.h>

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#  include <cooperative_groups.h>
#endif

namespace evenkeel::cuda {

#ifdef __CUDACC__
#  if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

__device__ __forceinline__ int cluster_rank() {
  return static_cast<int>(cooperative_groups::this_cluster().block_rank());
}
__device__ __forceinline__ int cluster_size() {
  return static_cast<int>(cooperative_groups::this_cluster().num_blocks());
}
/// Where block `rank` of the cluster has what this one has at `mine`, in dynamic shared memory. It may be
/// used between two sync_cluster(): before the first the block may not have started, after the last it may be
/// gone.
template <typename T>
__device__ __forceinline__ T* in_cluster(T* mine, int rank) {
  return cooperative_groups::this_cluster().map_shared_rank(mine, rank);
}
/// Waits for all threads of the cluster's blocks; what they wrote to memory before, all of them see after. In
/// a block on its own it is __syncthreads(). Call: all threads of all blocks of the cluster.
__device__ __forceinline__ void sync_cluster() {
  if (cluster_size() == 1) return __syncthreads();
  cooperative_groups::this_cluster().sync();
}

#  else

__device__ __forceinline__ constexpr int cluster_rank() { return 0; }
__device__ __forceinline__ constexpr int cluster_size() { return 1; }
template <typename T>
__device__ __forceinline__ T* in_cluster(T* mine, int) {
  return mine;
}
__device__ __forceinline__ void sync_cluster() { __syncthreads(); }

#  endif
#else

inline int cluster_rank() { return simt::cluster_rank(); }
inline int cluster_size() { return simt::cluster_size(); }
template <typename T>
T* in_cluster(T* mine, int rank) {
  return static_cast<T*>(simt::in_cluster(mine, rank));
}
inline void sync_cluster(SIMT_HERE) { simt::sync_cluster(site); }

#endif

}  // namespace evenkeel::cuda
