// Rectified linear unit.
#pragma once

#include "evenkeel/kernels/half.h"

namespace evenkeel {

/// y = max(x, 0); NaN stays NaN.
template <typename T>
struct ReluForwardArgs {
  T* y;
  const T* x;
  std::int64_t n;
};
EK_DECLARE_CPU_VECTOR_KERNEL(relu_forward, ReluForwardArgs)
namespace cuda {
template <typename T>
void relu_forward(const ReluForwardArgs<T>& args, Stream stream);
}

/// dx = 0 where y <= 0, else dy, also where y is NaN.
template <typename T>
struct ReluBackwardArgs {
  T* dx;
  const T* dy;
  const T* y;
  std::int64_t n;
};
EK_DECLARE_CPU_VECTOR_KERNEL(relu_backward, ReluBackwardArgs)
namespace cuda {
template <typename T>
void relu_backward(const ReluBackwardArgs<T>& args, Stream stream);
}

}  // namespace evenkeel
