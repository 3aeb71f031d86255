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
struct SgdRule {
  double lr, momentum, weight_decay, l1;
  bool nesterov, proximal;
};

/// The rule for one element, in T.
template <typename T>
struct SgdStep {
  T lr, momentum, weight_decay, l1, threshold;  // one of l1 and threshold, lr l1, is 0
  bool nesterov;

  EK_FORMULA explicit SgdStep(const SgdRule& rule)
      : lr(static_cast<T>(rule.lr)),
        momentum(static_cast<T>(rule.momentum)),
        weight_decay(static_cast<T>(rule.weight_decay)),
        l1(rule.proximal ? T(0) : static_cast<T>(rule.l1)),
        threshold(rule.proximal ? static_cast<T>(rule.lr * rule.l1) : T(0)),
        nesterov(rule.nesterov) {}

  /// d.
  EK_FORMULA T direction(T p, T g) const {
    const T sign = p > T(0) ? T(1) : p < T(0) ? T(-1) : T(0);
    return (weight_decay != 0 ? g + weight_decay * p : g) + l1 * sign;  // 0 times infinity is no 0
  }
  /// The direction with momentum, whose buffer is moved.
  EK_FORMULA T with_momentum(T d, T& v) const {
    v = momentum * v + d;
    return nesterov ? d + momentum * v : v;
  }
  /// p after a step in a direction. The order of the comparisons lets NaN through.
  EK_FORMULA T moved(T p, T by) const {
    const T next = p - lr * by;
    return next > threshold ? next - threshold : next < -threshold ? next + threshold : next * T(0);
  }

  /// The whole rule: the new p; `v` is null without momentum.
  EK_FORMULA T operator()(T p, T* v, T g) const {
    const T d = direction(p, g);
    return moved(p, v != nullptr ? with_momentum(d, *v) : d);
  }
};

template <typename T>
struct SgdArgs {
  const SgdTensor<T>* tensors;  // an array on the host
  int count;
  SgdRule rule;
  const double* lr_now =
      nullptr;  // CUDA: in the device's memory, where a graph reads it; null: the rule's lr
};
EK_DECLARE_CPU_VECTOR_KERNEL(sgd_step, SgdArgs)
namespace cuda {
template <typename T>
void sgd_step(const SgdArgs<T>& args, Stream stream);
}

}  // namespace evenkeel
