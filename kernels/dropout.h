// Dropout (Srivastava et al., 2014), inverted: what is kept is scaled by 1/(1-p).
#pragma once

#include "evenkeel/kernels/common.h"
#include "evenkeel/kernels/philox.h"

namespace evenkeel {

/// y[i] = u_i >= p ? x[i] / (1-p) : 0, u_i number i of `key`. Backward is the same map applied to dy.
template <typename T>
struct DropoutArgs {
  T* y;
  const T* x;
  RandomKey key;
  double p;  // in [0, 1)
  std::int64_t n;
};
EK_DECLARE_CPU_VECTOR_KERNEL(dropout, DropoutArgs)
namespace cuda {
template <typename T>
void dropout(const DropoutArgs<T>& args, Stream stream);
}

}  // namespace evenkeel
