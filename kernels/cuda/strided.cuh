// Walks over strided arrays: a thread an element.
#pragma once

#include "evenkeel/kernels/cuda/vector.cuh"
#include "evenkeel/kernels/strided.h"

namespace evenkeel::cuda {

inline std::int64_t count_of(const Extents& shape) {
  std::int64_t n = 1;
  for (int d = 0; d < shape.rank; ++d) n *= shape.at[d];
  return n;
}

/// Strides of a dense array.
inline Extents dense_strides(const Extents& shape) {
  Extents strides = shape;
  std::int64_t step = 1;
  for (int d = shape.rank - 1; d >= 0; step *= shape.at[d--]) strides.at[d] = step;
  return strides;
}

/// The offset of element i, row-major over `shape`, in an array with these strides.
__device__ __forceinline__ std::int64_t offset_of(std::int64_t i, const Extents& shape,
                                                  const Extents& strides) {
  std::int64_t offset = 0;
  for (int d = shape.rank - 1; d > 0; --d) {
    offset += i % shape.at[d] * strides.at[d];
    i /= shape.at[d];
  }
  return offset + (shape.rank > 0 ? i * strides.at[0] : 0);
}

}  // namespace evenkeel::cuda
