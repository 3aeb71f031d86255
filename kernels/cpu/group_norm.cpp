#include "evenkeel/kernels/group_norm.h"

#include "evenkeel/kernels/cpu/lanes/ops.h"
#include "evenkeel/kernels/cpu/norm_common.h"
#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/kernels/cpu/scratch.h"

namespace evenkeel::cpu::EK_ISA {

template <typename T>
void group_norm_forward(const GroupNormForwardArgs<T>& a) {
  if (a.format == MemoryFormat::lanes) return lanes::group_norm_forward(a);
  const std::int64_t channels = a.C / a.G, size = channels * a.S;  // of a group
  const bool streamed = is_streamed<T>(a.N * a.C * a.S);
  parallel_for(a.N * a.G, 5 * size, [&](std::int64_t i) {
    const Moments m = plane_moments(a.x + i * size, size);
    const double rstd = 1 / std::sqrt(m.m2 / m.count + a.eps);
    a.mean[i] = static_cast<T>(m.mean);
    a.rstd[i] = static_cast<T>(rstd);
    for (std::int64_t k = 0; k < channels; ++k) {
      const std::int64_t c = i % a.G * channels + k, at = i * size + k * a.S;
      const double scale = a.gamma != nullptr ? a.gamma[c] * rstd : rstd;
      const T shift = a.beta != nullptr ? a.beta[c] : T(0);
      scale_plane(a.y + at, a.x + at, a.S, SplitMean<T>(m.mean), static_cast<T>(scale), shift, streamed);
    }
  });
}

template <typename T>
void group_norm_backward(const GroupNormBackwardArgs<T>& a) {
  if (a.format == MemoryFormat::lanes) return lanes::group_norm_backward(a);
  const std::int64_t channels = a.C / a.G, size = channels * a.S;  // of a group
  static thread_local Scratch plane_scratch, affine_scratch;
  auto* planes = plane_scratch.get<GradientSums>(a.N * a.C);
  auto* affine = affine_scratch.get<AffineGradients>(a.N * a.C);
  const bool streamed = is_streamed<T>(a.N * a.C * a.S);
  parallel_for(a.N * a.G, 6 * size, [&](std::int64_t i) {
    const double rstd = a.rstd[i];
    const auto gamma = [&](std::int64_t k) {
      return a.gamma != nullptr ? static_cast<double>(a.gamma[i % a.G * channels + k]) : 1.0;
    };
    GradientSums group;  // of g = gamma dy
    for (std::int64_t k = 0; k < channels; ++k) {
      const std::int64_t plane = i * channels + k;
      planes[plane] = plane_gradient_sums(a.dy + plane * a.S, a.x + plane * a.S, a.S, a.mean[i]);
      group.add(planes[plane], gamma(k));
    }
    const double rest = group.rest(static_cast<double>(size));
    const double count = static_cast<double>(size), dy_xhat = group.dy_xhat(rest, rstd);
    const AlongXhat<T> along(static_cast<T>(rstd * rstd * dy_xhat / count),
                             static_cast<T>(rstd * dy_xhat / count), a.rstd[i]);
    const T offset = static_cast<T>(rstd * group.dy / static_cast<double>(size));
    for (std::int64_t k = 0; k < channels; ++k) {
      const std::int64_t plane = i * channels + k, at = plane * a.S;
      affine[plane] = {planes[plane].dy_xhat(rest, rstd), planes[plane].dy};
      if (a.dx == nullptr) continue;
      gradient_plane(a.dx + at, a.dy + at, a.x + at, a.S, SplitMean<T>(a.mean[i], rest),
                     static_cast<T>(gamma(k) * rstd), along, offset, streamed);
    }
  });
  sum_affine_gradients(a.dgamma, a.dbeta, affine, a.N, a.C);
}

template void group_norm_forward(const GroupNormForwardArgs<float>&);
template void group_norm_forward(const GroupNormForwardArgs<double>&);
template void group_norm_backward(const GroupNormBackwardArgs<float>&);
template void group_norm_backward(const GroupNormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
