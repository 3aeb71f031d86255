#include "evenkeel/kernels/cpu/norm.h"

#include "evenkeel/kernels/cpu/norm_common.h"
#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/kernels/cpu/scratch.h"

namespace evenkeel::cpu::EK_ISA {

template <typename T>
void group_norm_forward(const NormForwardArgs<T>& a) {
  const std::int64_t channels = a.C / a.G, size = channels * a.S;  // of a group
  const bool streamed = is_streamed<T>(a.N * a.C * a.S);
  parallel_for(a.N * a.G, 5 * size, [&](std::int64_t i) {
    const Moments m = plane_moments(a.x + i * size, size);
    const SetStatistics<T> group{split<T>(m.mean), static_cast<T>(rstd_of(m.variance(), a.eps))};
    a.mean[i] = group.mean.high;
    a.rstd[i] = group.rstd;
    for (std::int64_t k = 0; k < channels; ++k) {
      const std::int64_t c = i % a.G * channels + k, at = i * size + k * a.S;
      const T gamma = a.gamma != nullptr ? a.gamma[c] : T(1), beta = a.beta != nullptr ? a.beta[c] : T(0);
      normalize_plane(a.y + at, a.x + at, a.S, group, gamma, beta, streamed);
    }
  });
}

template <typename T>
void group_norm_backward(const NormBackwardArgs<T>& a) {
  const std::int64_t channels = a.C / a.G, size = channels * a.S;  // of a group
  static thread_local Scratch plane_scratch, affine_scratch;
  auto* planes = plane_scratch.get<GradientSums<double>>(a.N * a.C);
  auto* affine = affine_scratch.get<AffineGradients>(a.N * a.C);
  const bool streamed = is_streamed<T>(a.N * a.C * a.S);
  parallel_for(a.N * a.G, 6 * size, [&](std::int64_t i) {
    const double rstd = a.rstd[i];
    const auto gamma = [&](std::int64_t k) {
      return a.gamma != nullptr ? a.gamma[i % a.G * channels + k] : T(1);
    };
    GradientSums<double> sums;  // of g = gamma dy
    for (std::int64_t k = 0; k < channels; ++k) {
      const std::int64_t plane = i * channels + k;
      planes[plane] = plane_gradient_sums(a.dy + plane * a.S, a.x + plane * a.S, a.S, a.mean[i]);
      sums.add(planes[plane], static_cast<double>(gamma(k)));
    }
    const Count<double> count(size);
    const double rest = sums.rest(count);
    const GradientMeans<T> means = rounded<T>(sums.means(count, rest, rstd));
    const SetStatistics<T> group{{a.mean[i], static_cast<T>(rest)}, a.rstd[i]};
    for (std::int64_t k = 0; k < channels; ++k) {
      const std::int64_t plane = i * channels + k, at = plane * a.S;
      affine[plane] = {planes[plane].dy_xhat(rest, rstd), planes[plane].dy};
      if (a.dx == nullptr) continue;
      gradient_plane(a.dx + at, a.dy + at, a.x + at, a.S, group, gamma(k), means, streamed);
    }
  });
  sum_affine_gradients(a.dgamma, a.dbeta, affine, a.N, a.C);
}

template void group_norm_forward(const NormForwardArgs<float>&);
template void group_norm_forward(const NormForwardArgs<double>&);
template void group_norm_backward(const NormBackwardArgs<float>&);
template void group_norm_backward(const NormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
