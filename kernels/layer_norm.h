// Layer normalization (Ba, Kiros and Hinton, 2016) of the rows of x [M, D].
#pragma once

#include "evenkeel/kernels/half.h"
#include "evenkeel/kernels/variants.h"

namespace evenkeel {

/// y[m,d] = gamma[d] (x[m,d] - mean[m]) rstd[m] + beta[d], rstd = 1 / sqrt(biased var + eps).
template <typename T>
struct LayerNormForwardArgs {
  T* y;
  Arithmetic<T>* mean;  // [M], saved for backward
  Arithmetic<T>* rstd;  // [M], saved for backward
  const T* x;
  const Arithmetic<T>* gamma;  // [D] or null: 1
  const Arithmetic<T>* beta;   // [D] or null: 0
  std::int64_t M, D;
  double eps;
  MemoryFormat format = MemoryFormat::strided;
  std::int64_t N = 0;  // lanes: the images that the rows belong to, M/N each; mean and rstd are [N, M/N]
  bool relu = false;   // lanes: x is read as max(x, 0)
};
EK_DECLARE_VECTOR_KERNEL(layer_norm_forward, LayerNormForwardArgs)

/// With xhat = (x - mean) rstd, g = gamma dy and means over a row:
/// dx = rstd (g - mean(g) - xhat mean(g xhat)); dgamma[d] = sum over m of dy xhat; dbeta[d] = sum over m of
/// dy.
template <typename T>
struct LayerNormBackwardArgs {
  T* dx;                  // or null
  Arithmetic<T>* dgamma;  // [D] or null
  Arithmetic<T>* dbeta;   // [D] or null
  const T* dy;
  const T* x;
  const Arithmetic<T>* mean;
  const Arithmetic<T>* rstd;
  const Arithmetic<T>* gamma;  // or null: 1
  std::int64_t M, D;
  MemoryFormat format = MemoryFormat::strided;
  std::int64_t N = 0;  // lanes: the images that the rows belong to, M/N each; mean and rstd are [N, M/N]
  bool relu = false;   // lanes: x is read as max(x, 0), and dx is the gradient before that
};
EK_DECLARE_VECTOR_KERNEL(layer_norm_backward, LayerNormBackwardArgs)

namespace cuda {
// The ladders that the two functions choose from, for every type of storage; defined in builds with CUDA.
template <typename T>
Ladder<LayerNormForwardArgs<T>> layer_norm_forward_variants();
template <typename T>
Ladder<LayerNormBackwardArgs<T>> layer_norm_backward_variants();
}  // namespace cuda

}  // namespace evenkeel
