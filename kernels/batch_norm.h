// Batch normalization (Ioffe and Szegedy, 2015) over N and S of x [N, C, S]; S is the plane H*W.
#pragma once

#include "kernels/common.h"

namespace evenkeel {

/// y = gamma[c] (x - mean[c]) rstd[c] + beta[c], rstd = 1 / sqrt(var + eps).
/// training: mean and the biased variance are those of the batch, and where running_mean and running_var are
/// given
///   running += momentum (batch - running), with the unbiased variance;
/// else: they are running_mean and running_var.
template <typename T>
struct BatchNormForwardArgs {
  T* y;
  T* mean;          // [C], saved for backward
  T* rstd;          // [C], saved for backward
  T* running_mean;  // or null when training
  T* running_var;
  const T* x;
  const T* gamma;  // or null: 1
  const T* beta;   // or null: 0
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
  T* dx;      // or null
  T* dgamma;  // [C] or null
  T* dbeta;   // [C] or null
  const T* dy;
  const T* x;
  const T* mean;
  const T* rstd;
  const T* gamma;  // or null: 1
  std::int64_t N, C, S;
  bool training;
  MemoryFormat format = MemoryFormat::strided;
};
EK_DECLARE_VECTOR_KERNEL(batch_norm_backward, BatchNormBackwardArgs)

}  // namespace evenkeel
