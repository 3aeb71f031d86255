// log-softmax of rows, and the negative log-likelihood of labels under it.
#pragma once

#include "kernels/common.h"

namespace evenkeel {

/// y[m,d] = x[m,d] - log(sum over j of exp(x[m,j])), with the row's maximum taken out first.
template <typename T>
struct LogSoftmaxForwardArgs {
  T* y;
  const T* x;
  std::int64_t M, D;
};
EK_DECLARE_KERNEL(log_softmax_forward, LogSoftmaxForwardArgs)

/// dx[m,d] = dy[m,d] - exp(y[m,d]) * sum over j of dy[m,j].
template <typename T>
struct LogSoftmaxBackwardArgs {
  T* dx;
  const T* dy;
  const T* y;
  std::int64_t M, D;
};
EK_DECLARE_KERNEL(log_softmax_backward, LogSoftmaxBackwardArgs)

/// loss[m] = -x[m, target[m]]; a target outside [0, D) gives NaN.
template <typename T>
struct NllLossForwardArgs {
  T* loss;
  const T* x;
  const std::int64_t* target;
  std::int64_t M, D;
};
EK_DECLARE_KERNEL(nll_loss_forward, NllLossForwardArgs)

/// dx[m, target[m]] = -dloss[m]; 0 elsewhere.
template <typename T>
struct NllLossBackwardArgs {
  T* dx;
  const T* dloss;
  const std::int64_t* target;
  std::int64_t M, D;
};
EK_DECLARE_KERNEL(nll_loss_backward, NllLossBackwardArgs)

}  // namespace evenkeel
