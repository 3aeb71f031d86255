// Layer normalization over the channels at each pixel of x [N, C, S], as ConvNeXt's LayerNorm2d.
#pragma once

#include "evenkeel/kernels/half.h"
#include "evenkeel/kernels/variants.h"

namespace evenkeel {

/// y[n,c,s] = gamma[c] (x[n,c,s] - mean[n,s]) rstd[n,s] + beta[c], statistics over c, biased variance.
template <typename T>
struct LayerNorm2dForwardArgs {
  T* y;
  Arithmetic<T>* mean;  // [N, S], saved for backward
  Arithmetic<T>* rstd;  // [N, S], saved for backward
  const T* x;
  const Arithmetic<T>* gamma;  // [C] or null: 1
  const Arithmetic<T>* beta;   // [C] or null: 0
  std::int64_t N, C, S;
  double eps;
  MemoryFormat format = MemoryFormat::strided;
};
EK_DECLARE_VECTOR_KERNEL(layer_norm2d_forward, LayerNorm2dForwardArgs)

/// With xhat = (x - mean) rstd, g = gamma dy and means over c:
/// dx = rstd (g - mean(g) - xhat mean(g xhat)); dgamma[c] = sum over n,s of dy xhat; dbeta[c] = sum over n,s
/// of dy.
template <typename T>
struct LayerNorm2dBackwardArgs {
  T* dx;                  // or null
  Arithmetic<T>* dgamma;  // [C] or null
  Arithmetic<T>* dbeta;   // [C] or null
  const T* dy;
  const T* x;
  const Arithmetic<T>* mean;
  const Arithmetic<T>* rstd;
  const Arithmetic<T>* gamma;  // or null: 1
  std::int64_t N, C, S;
  MemoryFormat format = MemoryFormat::strided;
};
EK_DECLARE_VECTOR_KERNEL(layer_norm2d_backward, LayerNorm2dBackwardArgs)

namespace cuda {
// The ladders that the two functions choose from, for every type of storage; defined in builds with CUDA.
template <typename T>
Ladder<LayerNorm2dForwardArgs<T>> layer_norm2d_forward_variants();
template <typename T>
Ladder<LayerNorm2dBackwardArgs<T>> layer_norm2d_backward_variants();
}  // namespace cuda

}  // namespace evenkeel
