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
EK_DECLARE_KERNEL(sum, ReduceArgs)  // accumulates in f64
EK_DECLARE_KERNEL(max, ReduceArgs)  // NaN if any element is; also of i64

/// index[o] = the first i, row-major over `reduced`, at which x is largest; NaN counts as largest.
template <typename T>
struct ArgmaxArgs {
  std::int64_t* index;
  const T* x;
  Extents kept, kept_strides;
  Extents reduced, reduced_strides;
};
EK_DECLARE_KERNEL(argmax, ArgmaxArgs)  // also of i64

}  // namespace evenkeel
