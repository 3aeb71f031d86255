#include "evenkeel/kernels/sgd.h"

#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/kernels/cpu/simd.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

/// n elements of one parameter: reads p, v, g and writes p, v. The three do not overlap.
template <bool MOMENTUM, bool NESTEROV, typename T>
void step_range(T* __restrict p, T* __restrict velocity, const T* __restrict g, const SgdRule& rule,
                std::int64_t n) {
  SgdStep<T> step(rule);
  step.nesterov = NESTEROV;  // which the compiler then knows
  for (std::int64_t i = 0; i < n; ++i) {
    T d = step.direction(p[i], g[i]);
    if constexpr (MOMENTUM) d = step.with_momentum(d, velocity[i]);
    p[i] = step.moved(p[i], d);
  }
}

}  // namespace

template <typename T>
void sgd_step(const SgdArgs<T>& a) {
  for (int k = 0; k < a.count; ++k) {
    const SgdTensor<T>& t = a.tensors[k];
    const auto step = t.v == nullptr    ? step_range<false, false, T>
                      : a.rule.nesterov ? step_range<true, true, T>
                                        : step_range<true, false, T>;
    parallel_for_ranges(t.n, [&](std::int64_t begin, std::int64_t end) {
      step(t.p + begin, t.v != nullptr ? t.v + begin : nullptr, t.g + begin, a.rule, end - begin);
    });
  }
}

template void sgd_step(const SgdArgs<float>&);
template void sgd_step(const SgdArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
