// Walking strided arrays: merging axes that lie dense in memory.
#pragma once

#include "evenkeel/kernels/common.h"

namespace evenkeel {

/// Drops axes of size 1 and merges neighbours that every array steps through as one, so that most walks
/// become a single run. `strides` are those of each array, changed along with `shape`. At least one axis is
/// left.
template <typename... Strides>
void coalesce(Extents& shape, Strides&... strides) {
  int last = -1;
  for (int d = 0; d < shape.rank; ++d) {
    if (shape.at[d] == 1) continue;
    const bool merges = last >= 0 && ((strides.at[last] == strides.at[d] * shape.at[d]) && ...);
    if (merges) {
      shape.at[last] *= shape.at[d];
      ((strides.at[last] = strides.at[d]), ...);
    } else {
      ++last;
      shape.at[last] = shape.at[d];
      ((strides.at[last] = strides.at[d]), ...);
    }
  }
  if (last < 0) {
    last = 0;
    shape.at[0] = 1;
    ((strides.at[0] = 0), ...);
  }
  shape.rank = last + 1;
  ((strides.rank = last + 1), ...);
}

}  // namespace evenkeel
