#include "kernels/sgd.h"

#include <cmath>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

/// Elements [begin, end) of one parameter: reads p, v, g and writes p, v.
template <typename T>
void step_range(const SgdTensor<T>& t, const SgdArgs<T>& a, std::int64_t begin, std::int64_t end) {
  const T lr = static_cast<T>(a.lr), momentum = static_cast<T>(a.momentum);
  const T weight_decay = static_cast<T>(a.weight_decay);
  const T l1 = a.proximal ? T(0) : static_cast<T>(a.l1);
  const T threshold = a.proximal ? static_cast<T>(a.lr * a.l1) : T(0);
  for (std::int64_t i = begin; i < end; ++i) {
    const T p = t.p[i], sign = p > 0 ? T(1) : p < 0 ? T(-1) : T(0);
    const T d = t.g[i] + weight_decay * p + l1 * sign;
    T direction = d;
    if (t.v != nullptr) {
      const T v = momentum * t.v[i] + d;
      t.v[i] = v;
      direction = a.nesterov ? d + momentum * v : v;
    }
    const T next = p - lr * direction;
    // The order of the comparisons lets NaN through.
    t.p[i] = next > threshold ? next - threshold : next < -threshold ? next + threshold : next * T(0);
  }
}

}  // namespace

template <typename T>
void sgd_step(const SgdArgs<T>& a) {
  for (int k = 0; k < a.count; ++k) {
    const SgdTensor<T>& t = a.tensors[k];
    parallel_for_ranges(t.n, [&](std::int64_t begin, std::int64_t end) { step_range(t, a, begin, end); });
  }
}

template void sgd_step(const SgdArgs<float>&);
template void sgd_step(const SgdArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
