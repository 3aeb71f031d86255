// Normalization: every element of x is centred and scaled by the mean and the variance of its set, then by
// gamma and beta.
//
//   xhat = (x - mean) rstd,  rstd = 1 / sqrt(var + eps),  y = gamma xhat + beta
//
// with the biased variance of the set. kernels/norm_math.h has the formulas, backward's too. What differs
// from one normalization to the next is the partition: which elements are a set, and which share gamma and
// beta.
#pragma once

#include "evenkeel/kernels/half.h"
#include "evenkeel/kernels/norm_partition.h"
#include "evenkeel/kernels/variants.h"

namespace evenkeel {

/// mean and rstd are saved for backward. Batch norm: when training they are those of the batch, and where
/// running_mean and running_var are given
///   running = (1 - momentum) running + momentum batch, with the unbiased variance;
/// else they are running_mean and running_var.
template <typename T>
struct NormForwardArgs {
  T* y = nullptr;
  Arithmetic<T>* mean = nullptr;          // [sets]
  Arithmetic<T>* rstd = nullptr;          // [sets]
  Arithmetic<T>* running_mean = nullptr;  // [C], or null when training; batch only
  Arithmetic<T>* running_var = nullptr;
  const T* x = nullptr;
  const Arithmetic<T>* gamma = nullptr;  // [parameters] or null: 1
  const Arithmetic<T>* beta = nullptr;   // [parameters] or null: 0
  NormPartition partition = NormPartition::none;
  std::int64_t N = 0, C = 0, S = 0;
  std::int64_t G = 1;   // group only
  bool centred = true;  // false: RMS norm, whose mean is 0 and whose variance is about 0; rows only
  double eps = kNormEps;
  double momentum = 0;   // batch only
  bool training = true;  // batch only

  EK_HOST_DEVICE std::int64_t rows() const { return N * C; }
};

/// With g = gamma dy and means over a set:
///   dx = rstd (g - mean(g) - xhat mean(g xhat)),  dgamma = sum of dy xhat,  dbeta = sum of dy,
/// the sums over the elements that share a parameter. Batch norm that is not training: dx = gamma rstd dy.
template <typename T>
struct NormBackwardArgs {
  T* dx = nullptr;                  // or null
  Arithmetic<T>* dgamma = nullptr;  // [parameters] or null
  Arithmetic<T>* dbeta = nullptr;   // [parameters] or null
  const T* dy = nullptr;
  const T* x = nullptr;
  const Arithmetic<T>* mean = nullptr;
  const Arithmetic<T>* rstd = nullptr;
  const Arithmetic<T>* gamma = nullptr;  // or null: 1
  NormPartition partition = NormPartition::none;
  std::int64_t N = 0, C = 0, S = 0;
  std::int64_t G = 1;
  bool centred = true;
  bool training = true;

  EK_HOST_DEVICE std::int64_t rows() const { return N * C; }
};

EK_DECLARE_CPU_VECTOR_KERNEL(norm_forward, NormForwardArgs)
EK_DECLARE_CPU_VECTOR_KERNEL(norm_backward, NormBackwardArgs)

namespace cuda {
template <typename T>
void norm_forward(const NormForwardArgs<T>& args, Stream stream);
template <typename T>
void norm_backward(const NormBackwardArgs<T>& args, Stream stream);

/// The kernels of a partition that norm_forward and norm_backward choose from: kernels/variants.h.
template <typename T>
Ladder<NormForwardArgs<T>> norm_forward_variants(NormPartition partition);
template <typename T>
Ladder<NormBackwardArgs<T>> norm_backward_variants(NormPartition partition);
}  // namespace cuda

}  // namespace evenkeel
