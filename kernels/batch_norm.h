// Batch normalization (Ioffe and Szegedy, 2015) over N and S of x [N, C, S]; S is the plane H*W.
#pragma once

#include "evenkeel/kernels/half.h"
#include "evenkeel/kernels/variants.h"

namespace evenkeel {

/// y = gamma[c] (x - mean[c]) rstd[c] + beta[c], rstd = 1 / sqrt(var + eps).
/// training: mean and the biased variance are those of the batch, and where running_mean and running_var are
/// given
///   running = (1 - momentum) running + momentum batch, with the unbiased variance;
/// else: they are running_mean and running_var.
template <typename T>
struct BatchNormForwardArgs {
  T* y;
  Arithmetic<T>* mean;          // [C], saved for backward
  Arithmetic<T>* rstd;          // [C], saved for backward
  Arithmetic<T>* running_mean;  // or null when training
  Arithmetic<T>* running_var;
  const T* x;
  const Arithmetic<T>* gamma;  // or null: 1
  const Arithmetic<T>* beta;   // or null: 0
  std::int64_t N, C, S;
  double eps, momentum;
  bool training;
  MemoryFormat format = MemoryFormat::strided;
};
EK_DECLARE_VECTOR_KERNEL(batch_norm_forward, BatchNormForwardArgs)

/// With xhat = (x - mean) rstd and M = N*S: dbeta[c] = sum dy, dgamma[c] = sum dy xhat, and
/// training: dx = gamma rstd (dy - dbeta/M - xhat dgamma/M); else dx = gamma rstd dy.
template <typename T>
struct BatchNormBackwardArgs {
  T* dx;                  // or null
  Arithmetic<T>* dgamma;  // [C] or null
  Arithmetic<T>* dbeta;   // [C] or null
  const T* dy;
  const T* x;
  const Arithmetic<T>* mean;
  const Arithmetic<T>* rstd;
  const Arithmetic<T>* gamma;  // or null: 1
  std::int64_t N, C, S;
  bool training;
  MemoryFormat format = MemoryFormat::strided;
};
EK_DECLARE_VECTOR_KERNEL(batch_norm_backward, BatchNormBackwardArgs)

namespace cuda {
// The ladders that the two functions choose from, for every type of storage; defined in builds with CUDA.
template <typename T>
Ladder<BatchNormForwardArgs<T>> batch_norm_forward_variants();
template <typename T>
Ladder<BatchNormBackwardArgs<T>> batch_norm_backward_variants();
}  // namespace cuda

}  // namespace evenkeel
