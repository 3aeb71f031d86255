// The memory format in which the CPU trains: the images of a batch in the lanes of vectors.
//
// x [N, ...] lies as [ceil(N/L)] blocks of [...][L], where L = kLanes<T> images share a block: element i of
// image n is at ((n / L) * size + i) * L + n % L, `size` the number of elements of an image. So a vector
// holds the same element of L images, and a network's layers, whatever their channels and sizes, are
// element-wise code on vectors, without remainders or sums across lanes. Where L does not divide N, the last
// block has lanes without an image: their content is unspecified, and whoever sums over images leaves them
// out.
#pragma once

#include "evenkeel/kernels/common.h"

namespace evenkeel {

/// Images a block: 64 bytes, one AVX-512 register, two of AVX2, four of SSE or NEON.
template <typename T>
inline constexpr int kLanes = static_cast<int>(64 / sizeof(T));

/// Blocks that N images take.
template <typename T>
constexpr std::int64_t lane_blocks(std::int64_t N) {
  return (N + kLanes<T> - 1) / kLanes<T>;
}

/// Converts between the formats: N images of `size` elements each.
template <typename T>
struct LanesCopyArgs {
  T* y;
  const T* x;
  std::int64_t N, size;
};
EK_DECLARE_CPU_VECTOR_KERNEL(strided_to_lanes, LanesCopyArgs)
EK_DECLARE_CPU_VECTOR_KERNEL(lanes_to_strided, LanesCopyArgs)

}  // namespace evenkeel
