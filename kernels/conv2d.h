// 2-D convolution (cross-correlation, as in PyTorch) and its gradients. T is the type of the images; weights,
// bias, their gradients and all sums are Arithmetic<T>, which is f32 where T has 16 bits (CUDA only).
#pragma once

#include "evenkeel/kernels/half.h"

namespace evenkeel {

/// x is [N, C, H, W], weight [K, C/groups, R, S], y [N, K, P, Q] with
/// P = (H + 2 pad_h - dilation_h (R-1) - 1) / stride_h + 1, and Q so from W.
struct Conv2dSizes {
  std::int64_t N, C, H, W;
  std::int64_t K, R, S;
  std::int64_t P, Q;
  std::int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
};

/// y[n,k,p,q] = bias[k] + sum over c,r,s of weight[k,c,r,s] * x[n, c, p*stride + r*dilation - pad, ...].
template <typename T>
struct Conv2dForwardArgs {
  T* y;
  const T* x;
  const Arithmetic<T>* weight;
  const Arithmetic<T>* bias;  // or null
  Conv2dSizes sizes;
};
EK_DECLARE_CPU_VECTOR_KERNEL(conv2d_forward, Conv2dForwardArgs)
namespace cuda {
template <typename T>
void conv2d_forward(const Conv2dForwardArgs<T>& args, Stream stream);
}

/// dx[n,c,h,w] = sum over the y[n,k,p,q] that x[n,c,h,w] entered of weight[k,c,r,s] * dy[n,k,p,q].
template <typename T>
struct Conv2dBackwardInputArgs {
  T* dx;
  const T* dy;
  const Arithmetic<T>* weight;
  Conv2dSizes sizes;
};
EK_DECLARE_CPU_VECTOR_KERNEL(conv2d_backward_input, Conv2dBackwardInputArgs)
namespace cuda {
template <typename T>
void conv2d_backward_input(const Conv2dBackwardInputArgs<T>& args, Stream stream);
}

/// dweight[k,c,r,s] = sum over n,p,q of dy[n,k,p,q] * x[n, c, ...]; dbias[k] = sum over n,p,q of dy[n,k,p,q].
template <typename T>
struct Conv2dBackwardWeightArgs {
  Arithmetic<T>* dweight;
  Arithmetic<T>* dbias;  // or null
  const T* dy;
  const T* x;
  Conv2dSizes sizes;
};
EK_DECLARE_CPU_VECTOR_KERNEL(conv2d_backward_weight, Conv2dBackwardWeightArgs)
namespace cuda {
template <typename T>
void conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>& args, Stream stream);
}

namespace cpu {
/// True where the CPU convolves directly, with images in the lanes of vectors, false where matrix products
/// are faster (measured with AVX-512): when a few images are far larger than the second-level cache, or when
/// the batch leaves half of the lanes empty - unless there are few filters, or planes of less than two
/// vectors.
template <typename T>
bool conv2d_is_direct(const Conv2dSizes& sizes);
}  // namespace cpu

}  // namespace evenkeel
