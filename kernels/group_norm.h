// Group normalization (Wu and He, 2018): x [N, C, S], statistics over the C/G channels and S pixels of each
// group. Instance normalization is G = C.
#pragma once

#include "evenkeel/kernels/half.h"
#include "evenkeel/kernels/variants.h"

namespace evenkeel {

/// y[n,c,s] = gamma[c] (x - mean[n,g]) rstd[n,g] + beta[c], g the group of c, rstd = 1 / sqrt(biased var +
/// eps).
template <typename T>
struct GroupNormForwardArgs {
  T* y;
  Arithmetic<T>* mean;  // [N, G], saved for backward
  Arithmetic<T>* rstd;  // [N, G], saved for backward
  const T* x;
  const Arithmetic<T>* gamma;  // [C] or null: 1
  const Arithmetic<T>* beta;   // [C] or null: 0
  std::int64_t N, C, S, G;
  double eps;
  MemoryFormat format = MemoryFormat::strided;
  bool relu = false;  // lanes: x is read as max(x, 0)
};
EK_DECLARE_VECTOR_KERNEL(group_norm_forward, GroupNormForwardArgs)

/// With xhat = (x - mean) rstd, g = gamma dy and means over a group:
/// dx = rstd (g - mean(g) - xhat mean(g xhat)); dgamma[c] = sum over n,s of dy xhat; dbeta[c] = sum over n,s
/// of dy.
template <typename T>
struct GroupNormBackwardArgs {
  T* dx;                  // or null
  Arithmetic<T>* dgamma;  // [C] or null
  Arithmetic<T>* dbeta;   // [C] or null
  const T* dy;
  const T* x;
  const Arithmetic<T>* mean;
  const Arithmetic<T>* rstd;
  const Arithmetic<T>* gamma;  // or null: 1
  std::int64_t N, C, S, G;
  MemoryFormat format = MemoryFormat::strided;
  bool relu = false;  // lanes: x is read as max(x, 0), and dx is the gradient before that
};
EK_DECLARE_VECTOR_KERNEL(group_norm_backward, GroupNormBackwardArgs)

namespace cuda {
// The ladders that the two functions choose from, for every type of storage; defined in builds with CUDA.
template <typename T>
Ladder<GroupNormForwardArgs<T>> group_norm_forward_variants();
template <typename T>
Ladder<GroupNormBackwardArgs<T>> group_norm_backward_variants();
}  // namespace cuda

}  // namespace evenkeel
