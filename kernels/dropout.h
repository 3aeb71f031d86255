// Dropout (Srivastava et al., 2014), inverted: what is kept is scaled by 1/(1-p).
#pragma once

#include "evenkeel/kernels/common.h"
#include "evenkeel/kernels/philox.h"

namespace evenkeel {

/// y[i] = u_i >= p ? x[i] / (1-p) : 0, u_i number i of `key`. Backward is the same map applied to dy. On a
/// GPU the mask is computed again; in lanes, where that takes longer than reading it, it is kept.
template <typename T>
struct DropoutArgs {
  T* y;
  const T* x;
  RandomKey key;
  double p;  // in [0, 1)
  std::int64_t n;
  MemoryFormat format = MemoryFormat::strided;
  std::int64_t N = 0;            // lanes: images, n/N elements each; i counts them one image after the other
  std::uint8_t* mask = nullptr;  // lanes, or null: 255 where x is kept, else 0, in the order of x; written
  const std::uint8_t* kept = nullptr;  // lanes, or null: a mask to read in place of random numbers
};
EK_DECLARE_CPU_VECTOR_KERNEL(dropout, DropoutArgs)
namespace cuda {
template <typename T>
void dropout(const DropoutArgs<T>& args, Stream stream);
}

}  // namespace evenkeel
