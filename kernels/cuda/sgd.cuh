// One step of stochastic gradient descent for one element.
#pragma once

#include "evenkeel/kernels/cuda/simt.h"
#include "evenkeel/kernels/sgd.h"

namespace evenkeel::cuda {

/// What the step of an element depends on, of the rule in kernels/sgd.h.
template <typename T>
struct SgdRule {
  T lr, momentum, weight_decay, l1, threshold;  // one of l1 and threshold, lr l1, is 0
  bool nesterov;

  EK_HOST_DEVICE SgdRule(double lr_, double momentum_, double weight_decay_, double l1_, bool nesterov_,
                         bool proximal)
      : lr(static_cast<T>(lr_)),
        momentum(static_cast<T>(momentum_)),
        weight_decay(static_cast<T>(weight_decay_)),
        l1(proximal ? T(0) : static_cast<T>(l1_)),
        threshold(proximal ? static_cast<T>(lr_ * l1_) : T(0)),
        nesterov(nesterov_) {}
};

/// One step for one element; v_out is null without momentum.
template <typename T>
__device__ __forceinline__ void step_element(const SgdRule<T>& a, T* p_out, T* v_out, T g) {
  const T p = *p_out, sign = p > T(0) ? T(1) : p < T(0) ? T(-1) : T(0);
  const T decayed = a.weight_decay != 0 ? g + a.weight_decay * p : g;  // 0 times infinity is no 0
  const T d = decayed + a.l1 * sign;
  T direction = d;
  if (v_out != nullptr) {
    const T v = a.momentum * *v_out + d;
    *v_out = v;
    direction = a.nesterov ? d + a.momentum * v : v;
  }
  const T next = p - a.lr * direction;
  // The order of the comparisons lets NaN through.
  *p_out = next > a.threshold ? next - a.threshold : next < -a.threshold ? next + a.threshold : next * T(0);
}

}  // namespace evenkeel::cuda
