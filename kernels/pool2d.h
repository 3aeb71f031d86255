// Max and average pooling of planes: x [planes, H, W] to y [planes, P, Q].
#pragma once

#include "evenkeel/kernels/half.h"

namespace evenkeel {

/// A window of R x S; P = (H + 2 pad_h - R) / stride_h + 1, and Q so from W.
struct Pool2dSizes {
  std::int64_t planes, H, W;
  std::int64_t R, S;
  std::int64_t P, Q;
  std::int64_t stride_h, stride_w, pad_h, pad_w;
};

/// y = the largest x in the window; padding never wins; NaN wins, the last one if there are several.
template <typename T>
struct MaxPool2dForwardArgs {
  T* y;
  std::int64_t* index;  // [planes, P, Q]: h*W + w of the maximum, the first of equal ones; saved for backward
  const T* x;
  Pool2dSizes sizes;
};
EK_DECLARE_CPU_VECTOR_KERNEL(max_pool2d_forward, MaxPool2dForwardArgs)
namespace cuda {
template <typename T>
void max_pool2d_forward(const MaxPool2dForwardArgs<T>& args, Stream stream);
}

/// dx[plane][index[p,q]] sums dy[p,q]; 0 elsewhere.
template <typename T>
struct MaxPool2dBackwardArgs {
  T* dx;
  const T* dy;
  const std::int64_t* index;
  Pool2dSizes sizes;
};
EK_DECLARE_CPU_VECTOR_KERNEL(max_pool2d_backward, MaxPool2dBackwardArgs)
namespace cuda {
template <typename T>
void max_pool2d_backward(const MaxPool2dBackwardArgs<T>& args, Stream stream);
}

/// y = the sum over the window / (R S); padding counts as zeros (PyTorch's count_include_pad=True).
template <typename T>
struct AvgPool2dForwardArgs {
  T* y;
  const T* x;
  Pool2dSizes sizes;
};
EK_DECLARE_CPU_VECTOR_KERNEL(avg_pool2d_forward, AvgPool2dForwardArgs)
namespace cuda {
template <typename T>
void avg_pool2d_forward(const AvgPool2dForwardArgs<T>& args, Stream stream);
}

/// dx[h,w] = the sum of dy over the windows that hold (h,w) / (R S).
template <typename T>
struct AvgPool2dBackwardArgs {
  T* dx;
  const T* dy;
  Pool2dSizes sizes;
};
EK_DECLARE_CPU_VECTOR_KERNEL(avg_pool2d_backward, AvgPool2dBackwardArgs)
namespace cuda {
template <typename T>
void avg_pool2d_backward(const AvgPool2dBackwardArgs<T>& args, Stream stream);
}

}  // namespace evenkeel
