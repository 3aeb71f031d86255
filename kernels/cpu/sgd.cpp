#include "evenkeel/kernels/sgd.h"

#include <cmath>

#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/kernels/cpu/simd.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

/// n elements of one parameter: reads p, v, g and writes p, v. The three do not overlap.
template <bool MOMENTUM, bool NESTEROV, typename T>
void step_range(T* __restrict p, T* __restrict velocity, const T* __restrict g, const SgdArgs<T>& a,
                std::int64_t n) {
  const T lr = static_cast<T>(a.lr), momentum = static_cast<T>(a.momentum);
  const T weight_decay = static_cast<T>(a.weight_decay);
  const T l1 = a.proximal ? T(0) : static_cast<T>(a.l1);
  const T threshold = a.proximal ? static_cast<T>(a.lr * a.l1) : T(0);
  for (std::int64_t i = 0; i < n; ++i) {
    const T sign = p[i] > 0 ? T(1) : p[i] < 0 ? T(-1) : T(0);
    const T decayed = weight_decay != 0 ? g[i] + weight_decay * p[i] : g[i];  // 0 times infinity is no 0
    const T d = decayed + l1 * sign;
    T direction = d;
    if constexpr (MOMENTUM) {
      const T v = momentum * velocity[i] + d;
      velocity[i] = v;
      direction = NESTEROV ? d + momentum * v : v;
    }
    const T next = p[i] - lr * direction;
    // The order of the comparisons lets NaN through.
    p[i] = next > threshold ? next - threshold : next < -threshold ? next + threshold : next * T(0);
  }
}

}  // namespace

template <typename T>
void sgd_step(const SgdArgs<T>& a) {
  for (int k = 0; k < a.count; ++k) {
    const SgdTensor<T>& t = a.tensors[k];
    const auto step = t.v == nullptr ? step_range<false, false, T>
                      : a.nesterov   ? step_range<true, true, T>
                                     : step_range<true, false, T>;
    parallel_for_ranges(t.n, [&](std::int64_t begin, std::int64_t end) {
      step(t.p + begin, t.v != nullptr ? t.v + begin : nullptr, t.g + begin, a, end - begin);
    });
  }
}

template void sgd_step(const SgdArgs<float>&);
template void sgd_step(const SgdArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
