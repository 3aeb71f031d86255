// log-softmax of rows, and the negative log-likelihood of labels under it.
#pragma once

#include "evenkeel/kernels/common.h"

namespace evenkeel {

/// y[m,d] = x[m,d] - log(sum over j of exp(x[m,j])), with the row's maximum taken out first.
template <typename T>
struct LogSoftmaxForwardArgs {
  T* y;
  const T* x;
  std::int64_t M, D;
};
namespace cpu {
template <typename T>
void log_softmax_forward(const LogSoftmaxForwardArgs<T>& args);
}
namespace cuda {
template <typename T>
void log_softmax_forward(const LogSoftmaxForwardArgs<T>& args, Stream stream);
}

/// dx[m,d] = dy[m,d] - exp(y[m,d]) * sum over j of dy[m,j].
template <typename T>
struct LogSoftmaxBackwardArgs {
  T* dx;
  const T* dy;
  const T* y;
  std::int64_t M, D;
};
namespace cpu {
template <typename T>
void log_softmax_backward(const LogSoftmaxBackwardArgs<T>& args);
}
namespace cuda {
template <typename T>
void log_softmax_backward(const LogSoftmaxBackwardArgs<T>& args, Stream stream);
}

/// loss[m] = -x[m, target[m]]; a target outside [0, D) gives NaN.
template <typename T>
struct NllLossForwardArgs {
  T* loss;
  const T* x;
  const std::int64_t* target;
  std::int64_t M, D;
};
namespace cpu {
template <typename T>
void nll_loss_forward(const NllLossForwardArgs<T>& args);
}
namespace cuda {
template <typename T>
void nll_loss_forward(const NllLossForwardArgs<T>& args, Stream stream);
}

/// loss = scale times the sum over m of -x[m, target[m]], in one kernel; a target outside [0, D) gives NaN.
template <typename T>
struct NllLossSumArgs {
  T* loss;
  const T* x;
  const std::int64_t* target;
  std::int64_t M, D;
  double scale;
};
namespace cuda {
template <typename T>
void nll_loss_sum(const NllLossSumArgs<T>& args, Stream stream);
}

/// dx[m, target[m]] = -scale dloss[m * dloss_stride]; 0 elsewhere.
template <typename T>
struct NllLossBackwardArgs {
  T* dx;
  const T* dloss;
  const std::int64_t* target;
  std::int64_t M, D;
  std::int64_t dloss_stride = 1;  // 0: one gradient for all rows
  double scale = 1;
};
namespace cpu {
template <typename T>
void nll_loss_backward(const NllLossBackwardArgs<T>& args);
}
namespace cuda {
template <typename T>
void nll_loss_backward(const NllLossBackwardArgs<T>& args, Stream stream);
}

/// Adds to running totals, on the device and in one kernel: totals[0] += M mean_loss, totals[1] += the number
/// of rows whose largest element (the first of equals, or the first NaN) is at target[m].
template <typename T>
struct ClassificationTotalsArgs {
  double* totals;  // [2]
  const T* x;      // [M, D]
  const T* mean_loss;
  const std::int64_t* target;
  std::int64_t M, D;
};
namespace cpu {
template <typename T>
void classification_totals(const ClassificationTotalsArgs<T>& args);
}
namespace cuda {
template <typename T>
void classification_totals(const ClassificationTotalsArgs<T>& args, Stream stream);
}

}  // namespace evenkeel
