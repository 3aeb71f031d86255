#include "evenkeel/kernels/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "evenkeel/kernels/cpu/parallel.h"

namespace evenkeel::cpu {

template <typename T>
void log_softmax_forward(const LogSoftmaxForwardArgs<T>& a) {
  parallel_for(a.M, 30 * a.D, [&](std::int64_t m) {
    const T* x = a.x + m * a.D;
    T largest = x[0];
    for (std::int64_t d = 1; d < a.D; ++d) largest = std::max(largest, x[d]);
    double total = 0;
    for (std::int64_t d = 0; d < a.D; ++d) total += std::exp(static_cast<double>(x[d] - largest));
    const T log_total = static_cast<T>(std::log(total));
    for (std::int64_t d = 0; d < a.D; ++d) a.y[m * a.D + d] = x[d] - largest - log_total;
  });
}

template <typename T>
void log_softmax_backward(const LogSoftmaxBackwardArgs<T>& a) {
  parallel_for(a.M, 30 * a.D, [&](std::int64_t m) {
    const T *dy = a.dy + m * a.D, *y = a.y + m * a.D;
    double total = 0;
    for (std::int64_t d = 0; d < a.D; ++d) total += static_cast<double>(dy[d]);
    for (std::int64_t d = 0; d < a.D; ++d) a.dx[m * a.D + d] = dy[d] - std::exp(y[d]) * static_cast<T>(total);
  });
}

template <typename T>
void nll_loss_forward(const NllLossForwardArgs<T>& a) {
  for (std::int64_t m = 0; m < a.M; ++m) {
    const std::int64_t target = a.target[m];
    const bool valid = target >= 0 && target < a.D;
    a.loss[m] = valid ? -a.x[m * a.D + target] : std::numeric_limits<T>::quiet_NaN();
  }
}

template <typename T>
void nll_loss_backward(const NllLossBackwardArgs<T>& a) {
  std::fill_n(a.dx, a.M * a.D, T(0));
  for (std::int64_t m = 0; m < a.M; ++m) {
    const std::int64_t target = a.target[m];
    if (target >= 0 && target < a.D)
      a.dx[m * a.D + target] = -a.dloss[m * a.dloss_stride] * static_cast<T>(a.scale);
  }
}

template <typename T>
void classification_totals(const ClassificationTotalsArgs<T>& a) {
  std::int64_t correct = 0;
  for (std::int64_t m = 0; m < a.M; ++m) {
    const T* const x = a.x + m * a.D;
    std::int64_t largest = 0;
    for (std::int64_t d = 1; d < a.D; ++d) {
      if (!(x[d] <= x[largest]) && x[largest] == x[largest]) largest = d;
    }
    correct += largest == a.target[m];
  }
  a.totals[0] += static_cast<double>(a.M) * static_cast<double>(*a.mean_loss);
  a.totals[1] += static_cast<double>(correct);
}

#define EK_INSTANTIATE(T)                                                  \
  template void classification_totals(const ClassificationTotalsArgs<T>&); \
  template void log_softmax_forward(const LogSoftmaxForwardArgs<T>&);      \
  template void log_softmax_backward(const LogSoftmaxBackwardArgs<T>&);    \
  template void nll_loss_forward(const NllLossForwardArgs<T>&);            \
  template void nll_loss_backward(const NllLossBackwardArgs<T>&);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cpu
