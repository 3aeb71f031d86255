// One step of stochastic gradient descent over all parameters.
#pragma once

#include "evenkeel/kernels/common.h"

namespace evenkeel {

/// One parameter, its momentum buffer (or null when momentum is 0) and its gradient, n elements each.
template <typename T>
struct SgdTensor {
  T* p;
  T* v;
  const T* g;
  std::int64_t n;
};

/// PyTorch's rule, with an L1 penalty:
///   d = g + weight_decay p + l1 sign(p)      (the last term only if not proximal)
///   v = momentum v + d
///   p = p - lr (nesterov ? d + momentum v : v)
///   proximal: p = sign(p) max(|p| - lr l1, 0), the proximal operator of lr l1 |p|, which reaches exact
///   zeros.
template <typename T>
struct SgdArgs {
  const SgdTensor<T>* tensors;  // an array on the host
  int count;
  double lr, momentum, weight_decay, l1;
  bool nesterov, proximal;
  const double* lr_now = nullptr;  // CUDA: the lr in the device's memory, which a graph reads; null: `lr`
};
EK_DECLARE_VECTOR_KERNEL(sgd_step, SgdArgs)

}  // namespace evenkeel
