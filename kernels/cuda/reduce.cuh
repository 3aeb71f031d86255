// Sums across the threads of a thread group: one thread, some lanes of a warp, or a block. The order of
// additions depends on the group's size alone, and every thread of a group gets the same bits.
#pragma once

#include <type_traits>

#include "evenkeel/kernels/cuda/vector.cuh"

namespace evenkeel::cuda {

inline constexpr int kWarp = 32;
inline constexpr int kMaxThreads = 1024;  // of a block
inline constexpr unsigned kWholeWarp = 0xffffffffu;

/// `n` rounded up to a multiple of a warp.
inline int whole_warps(std::int64_t n) { return static_cast<int>((n + kWarp - 1) / kWarp * kWarp); }

/// The sum over `width` neighbouring lanes, a power of two.
/// Call: all lanes of the warp. Shared memory: none. Result: in every lane, that of its own neighbours.
template <typename T>
__device__ __forceinline__ T lane_sum(T value, int width = kWarp) {
  EK_UNROLL
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const T other = __shfl_xor_sync(kWholeWarp, value, distance);
    if (distance < width) value += other;
  }
  return value;
}

/// The largest of the warp's values.
/// Call: all lanes of the warp. Shared memory: none. Result: in every lane.
template <typename T>
__device__ __forceinline__ T lane_max(T value) {
  EK_UNROLL
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    value = max(value, __shfl_xor_sync(kWholeWarp, value, distance));
  return value;
}

/// Replaces each value by its sum over the block, whose size is a multiple of a warp.
/// Call: all threads of the block. Shared memory: 32 elements a value. Result: in every thread. Ends with a
/// barrier.
template <typename... T>
__device__ __forceinline__ void block_sum(T&... values) {
  using Value = std::common_type_t<T...>;
  SIMT_SHARED(Value, warp_sums, [sizeof...(T)][kWarp]);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  int k = 0;
  const auto give = [&](Value value) {
    value = lane_sum(value);
    if (lane == 0) warp_sums[k][warp] = value;
    ++k;
  };
  (give(values), ...);
  __syncthreads();
  k = 0;
  const auto take = [&] { return lane_sum(lane < warps ? warp_sums[k++][lane] : (++k, Value(0))); };
  ((values = take()), ...);
  __syncthreads();
}

/// Thread groups: rank() is this thread's number in its group, number() is the group's number in the grid.

/// A thread on its own.
struct ThreadGroup {
  __device__ __forceinline__ int size() const { return 1; }
  __device__ __forceinline__ int rank() const { return 0; }
  __device__ __forceinline__ std::int64_t number() const { return thread_number(); }
  template <typename... T>
  __device__ __forceinline__ void sum(T&...) const {}
};

/// `width` neighbouring lanes, a power of two. sum(): all lanes of the warp call it.
struct LaneGroup {
  int width;
  __device__ __forceinline__ int size() const { return width; }
  __device__ __forceinline__ int rank() const { return static_cast<int>(threadIdx.x) & (width - 1); }
  __device__ __forceinline__ std::int64_t number() const { return thread_number() / width; }
  template <typename... T>
  __device__ __forceinline__ void sum(T&... values) const {
    ((values = lane_sum(values, width)), ...);
  }
};

/// All threads of the block. sum(): all call it.
struct BlockGroup {
  __device__ __forceinline__ int size() const { return static_cast<int>(blockDim.x); }
  __device__ __forceinline__ int rank() const { return static_cast<int>(threadIdx.x); }
  __device__ __forceinline__ std::int64_t number() const { return blockIdx.x; }
  template <typename... T>
  __device__ __forceinline__ void sum(T&... values) const {
    block_sum(values...);
  }
};

/// The fewest lanes, a power of two and at most a warp, that give each of `items` a lane.
inline int lanes_for(std::int64_t items) {
  int lanes = 1;
  while (lanes < kWarp && lanes < items) lanes *= 2;
  return lanes;
}

}  // namespace evenkeel::cuda
