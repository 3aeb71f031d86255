#include "evenkeel/kernels/cpu/norm.h"

#include "evenkeel/kernels/cpu/batch_norm_common.h"

namespace evenkeel::cpu::EK_ISA {

template <typename T>
void batch_norm_forward(const NormForwardArgs<T>& a) {
  forward_by_channels(a, a.N, a.S, [&](std::int64_t i) { return plane_moments(a.x + i * a.S, a.S); });
}

template <typename T>
void batch_norm_backward(const NormBackwardArgs<T>& a) {
  backward_by_channels(a, a.N, a.S, [&](std::int64_t i) {
    return plane_gradient_sums(a.dy + i * a.S, a.x + i * a.S, a.S, a.mean[i % a.C]);
  });
}

template void batch_norm_forward(const NormForwardArgs<float>&);
template void batch_norm_forward(const NormForwardArgs<double>&);
template void batch_norm_backward(const NormBackwardArgs<float>&);
template void batch_norm_backward(const NormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
