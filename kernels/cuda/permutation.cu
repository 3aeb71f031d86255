#include "evenkeel/kernels/permutation.h"

#include "evenkeel/kernels/cuda/simt.h"

namespace evenkeel::cuda {
namespace {

constexpr int kThreads = 256, kWarp = 32;

template <typename Index>
__device__ __forceinline__ void exchange(Index* order, std::int64_t i, std::int64_t j) {
  const Index at_i = order[i];
  order[i] = order[j];
  order[j] = at_i;
}

/// The exchanges of top, top - 1, ... top - 31, a lane each, as far as they are above 0. At once if no place
/// is in two of them, which in a long order is the rule, else one after the other. For all lanes of a warp.
template <typename Index>
__device__ void exchange_32(Index* order, std::int64_t* partner, std::int64_t top, const RandomKey& key) {
  const int lane = static_cast<int>(threadIdx.x);
  const std::int64_t i = top - lane, j = i > 0 ? exchange_partner(key, i) : i;
  bool is_shared = i > 0 && j != i && j > top - kWarp;  // with the lane whose i is this j
  for (int other = 0; other < kWarp; ++other) {
    const auto of_other = __shfl_sync(~0u, static_cast<unsigned>(j), other);
    is_shared = is_shared || (other != lane && of_other == static_cast<unsigned>(j));
  }
  if (__ballot_sync(~0u, is_shared) == 0) {
    if (i > 0) exchange(order, i, j);
  } else {
    partner[lane] = j;
    __syncwarp();
    for (int k = 0; lane == 0 && k < kWarp && top - k > 0; ++k) exchange(order, top - k, partner[k]);
  }
  __syncwarp();
}

/// For one block: order[i] = i, then all exchanges, by its first warp.
template <typename Index>
__device__ void permute(Index* order, std::int64_t n, const RandomKey& key) {
  SIMT_SHARED(std::int64_t, partner, [kWarp]);
  for (std::int64_t i = threadIdx.x; i < n; i += kThreads) order[i] = static_cast<Index>(i);
  __syncthreads();
  if (threadIdx.x >= kWarp) return;
  for (std::int64_t top = n - 1; top > 0; top -= kWarp) exchange_32(order, partner, top, key);
}

/// order [n] by one block, in place or, STAGED, in n 16-bit numbers of shared memory. Bytes: 8 n, once
/// STAGED.
template <bool STAGED>
__global__ void __launch_bounds__(kThreads)
    permutation_kernel(std::int64_t* order, std::int64_t n, RandomKey key) {
  if constexpr (STAGED) {
    SIMT_DYN_SHARED(std::uint16_t, staged);
    permute(staged, n, key);
    __syncthreads();
    for (std::int64_t i = threadIdx.x; i < n; i += kThreads) order[i] = staged[i];
  } else {
    permute(order, n, key);
  }
}

}  // namespace

void permutation(const PermutationArgs& a, Stream stream) {
  constexpr std::int64_t kStatic = kWarp * sizeof(std::int64_t);
  const std::int64_t bytes = a.n * static_cast<std::int64_t>(sizeof(std::uint16_t));
  if (a.n <= 65536 && bytes + kStatic <= most_shared_memory()) {
    launch("permutation", permutation_kernel<true>, {1, kThreads, bytes, stream}, a.order, a.n, a.key);
  } else {
    launch("permutation", permutation_kernel<false>, {1, kThreads, 0, stream}, a.order, a.n, a.key);
  }
}

}  // namespace evenkeel::cuda
