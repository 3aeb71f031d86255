// Dropout (Srivastava et al., 2014), inverted: what is kept is scaled by 1/(1-p).
#pragma once

#include "kernels/common.h"
#include "kernels/philox.h"

namespace evenkeel {

/// y[i] = u_i >= p ? x[i] / (1-p) : 0, u_i number i of `key`. Backward is the same map applied to dy: the
/// mask is computed again, not stored.
template <typename T>
struct DropoutArgs {
  T* y;
  const T* x;
  RandomKey key;
  double p;  // in [0, 1)
  std::int64_t n;
  MemoryFormat format = MemoryFormat::strided;
  std::int64_t N = 0;  // lanes: images, n/N elements each; i counts them one image after the other
};
EK_DECLARE_VECTOR_KERNEL(dropout, DropoutArgs)

}  // namespace evenkeel
