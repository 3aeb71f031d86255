// Reductions of a strided array over some of its axes, in a fixed order.
#pragma once

#include "evenkeel/kernels/common.h"

namespace evenkeel {

/// y[o] = reduce over i of x[o * kept_strides + i * reduced_strides]; y is dense over `kept`.
template <typename T>
struct ReduceArgs {
  T* y;
  const T* x;
  Extents kept, kept_strides;
  Extents reduced, reduced_strides;
};
namespace cpu {
// sum accumulates in f64. max is NaN if any element is, and is also of i64.
template <typename T>
void sum(const ReduceArgs<T>& args);
template <typename T>
void max(const ReduceArgs<T>& args);
}  // namespace cpu
namespace cuda {
template <typename T>
void sum(const ReduceArgs<T>& args, Stream stream);
template <typename T>
void max(const ReduceArgs<T>& args, Stream stream);
}  // namespace cuda

/// index[o] = the first i, row-major over `reduced`, at which x is largest; NaN counts as largest.
template <typename T>
struct ArgmaxArgs {
  std::int64_t* index;
  const T* x;
  Extents kept, kept_strides;
  Extents reduced, reduced_strides;
};
// Also of i64
namespace cpu {
template <typename T>
void argmax(const ArgmaxArgs<T>& args);
}
namespace cuda {
template <typename T>
void argmax(const ArgmaxArgs<T>& args, Stream stream);
}

}  // namespace evenkeel
