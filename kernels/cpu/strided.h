// Walking strided arrays on the CPU.
#pragma once

#include <array>

#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/kernels/strided.h"

namespace evenkeel::cpu {

/// The offset in each of several arrays of element `i`, counted row-major over the first `rank` axes of
/// `shape`.
template <typename... Strides>
std::array<std::int64_t, sizeof...(Strides)> offsets_of(std::int64_t i, int rank, const Extents& shape,
                                                        const Strides&... strides) {
  std::array<std::int64_t, sizeof...(Strides)> offsets{};
  for (int d = rank - 1; d >= 0; --d) {
    const std::int64_t index = i % shape.at[d];
    i /= shape.at[d];
    std::size_t k = 0;
    ((offsets[k++] += index * strides.at[d]), ...);
  }
  return offsets;
}

/// Calls f(offsets, count) for every innermost run of the coalesced `shape`; within a run the arrays step by
/// the last element of their strides. Long runs are cut, so that threads share them.
template <typename F, typename... Strides>
void for_each_run(const Extents& shape, const F& f, const Strides&... strides) {
  const int outer = shape.rank - 1;
  std::int64_t runs = 1;
  for (int d = 0; d < outer; ++d) runs *= shape.at[d];
  const std::int64_t length = shape.at[outer];
  if (length == 0 || runs == 0) return;
  if (runs == 1) {
    parallel_for_ranges(length, [&](std::int64_t begin, std::int64_t end) {
      f(std::array{(begin * strides.at[outer])...}, end - begin);
    });
    return;
  }
  parallel_for(runs, length, [&](std::int64_t run) { f(offsets_of(run, outer, shape, strides...), length); });
}

}  // namespace evenkeel::cpu
