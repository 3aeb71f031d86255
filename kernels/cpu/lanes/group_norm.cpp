#include "kernels/group_norm.h"

#include <algorithm>

#include "kernels/cpu/lanes/ops.h"
#include "kernels/cpu/lanes/statistics.h"
#include "kernels/cpu/parallel.h"

namespace evenkeel::cpu::lanes {
namespace {

/// Group `i` of [blocks, G]: a dense run of vectors.
template <typename T>
EK_SIMD void normalize_group(const GroupNormForwardArgs<T>& a, std::int64_t i) {
  const std::int64_t channels = a.C / a.G, size = channels * a.S;
  const Vec<T>* x = as_lanes(a.x) + i * size;
  Vec<T>* y = as_lanes(a.y) + i * size;
  const LaneMoments<T> m = lane_moments<T>(x, size, a.relu);
  const Doubles<T> rstd = (m.variance + Doubles<T>(a.eps)).rsqrt();
  const LaneSplitMean<T> mean(m.mean);
  as_lanes(a.mean)[i] = mean.high;
  as_lanes(a.rstd)[i] = rstd.rounded();
  for (std::int64_t k = 0; k < channels; ++k) {
    const std::int64_t c = i % a.G * channels + k;
    const Vec<T> scale = (a.gamma != nullptr ? rstd * static_cast<double>(a.gamma[c]) : rstd).rounded();
    const T shift = a.beta != nullptr ? a.beta[c] : T(0);
    for_each_piece<T>(x + k * a.S, a.S, a.relu,
                      [&](const Vec<T>* v, std::int64_t first, std::int64_t n) EK_INLINE_LAMBDA {
                        Vec<T>* to = y + k * a.S + first;
                        for (std::int64_t s = 0; s < n; ++s) to[s] = mean.centre(v[s]) * scale + shift;
                      });
  }
}

/// dx of group `i`, and the sums over a block's first `count` images that dgamma and dbeta need.
template <typename T>
EK_SIMD void group_gradient(const GroupNormBackwardArgs<T>& a, AffineGradients* affine, std::int64_t i,
                            std::int64_t count) {
  const std::int64_t channels = a.C / a.G, size = channels * a.S;
  const Vec<T>*x = as_lanes(a.x) + i * size, *dy = as_lanes(a.dy) + i * size;
  const Vec<T> saved = as_lanes(a.mean)[i];
  const Doubles<T> rstd(as_lanes(a.rstd)[i]);
  const auto gamma = [&](std::int64_t k) __attribute__((always_inline)) {
    return a.gamma != nullptr ? static_cast<double>(a.gamma[i % a.G * channels + k]) : 1.0;
  };
  LaneGradientSums<T> group;  // of g = gamma dy
  static thread_local Scratch<T> scratch;
  auto* planes = reinterpret_cast<LaneGradientSums<T>*>(
      scratch.get(channels * static_cast<std::int64_t>(sizeof(LaneGradientSums<T>) / sizeof(Vec<T>))));
  for (std::int64_t k = 0; k < channels; ++k) {
    LaneGradientSums<T> sums;
    for_each_piece<T>(x + k * a.S, a.S, a.relu,
                      [&](const Vec<T>* v, std::int64_t first, std::int64_t n) EK_INLINE_LAMBDA {
                        LaneGradientSums<T> total = sums;
                        const Vec<T>* g = dy + k * a.S + first;
                        for (std::int64_t s = 0; s < n; ++s) total.add(g[s], v[s] - saved);
                        sums = total;
                      });
    group.add(sums, gamma(k));
    planes[k] = sums;
  }
  const Doubles<T> rest = group.x / static_cast<double>(size);
  for (std::int64_t k = 0; k < channels; ++k) {
    affine[k] = {planes[k].dy_xhat(rest, rstd).total(count), planes[k].dy.total(count)};
  }
  if (a.dx == nullptr) return;
  Vec<T>* dx = as_lanes(a.dx) + i * size;
  const LaneSplitMean<T> mean(saved, rest);
  const Vec<T> along = (rstd * rstd * group.dy_xhat(rest, rstd) / static_cast<double>(size)).rounded();
  const Vec<T> offset = (rstd * group.dy / static_cast<double>(size)).rounded();
  for (std::int64_t k = 0; k < channels; ++k) {
    const Vec<T> scale = (rstd * gamma(k)).rounded();
    for_each_piece<T>(x + k * a.S, a.S, a.relu,
                      [&](const Vec<T>* v, std::int64_t first, std::int64_t n) EK_INLINE_LAMBDA {
                        const std::int64_t at = k * a.S + first;
                        for (std::int64_t s = 0; s < n; ++s)
                          dx[at + s] = scale * dy[at + s] - mean.centre(v[s]) * along - offset;
                        if (a.relu) relu_gradient<T>(dx + at, x + at, n);
                      });
  }
}

}  // namespace

template <typename T>
void group_norm_forward(const GroupNormForwardArgs<T>& a) {
  parallel_for(lane_blocks<T>(a.N) * a.G, 5 * a.C / a.G * a.S * kLanes<T>,
               [&](std::int64_t i) { normalize_group(a, i); });
}

template <typename T>
void group_norm_backward(const GroupNormBackwardArgs<T>& a) {
  const std::int64_t blocks = lane_blocks<T>(a.N), channels = a.C / a.G;
  static thread_local Scratch<double> scratch;
  auto* affine = reinterpret_cast<AffineGradients*>(scratch.numbers(2 * blocks * a.C));
  parallel_for(blocks * a.G, 6 * channels * a.S * kLanes<T>, [&](std::int64_t i) {
    group_gradient(a, affine + i * channels, i, images_of_block<T>(a.N, i / a.G));
  });
  sum_affine_gradients(a.dgamma, a.dbeta, affine, blocks, a.C);
}

template void group_norm_forward(const GroupNormForwardArgs<float>&);
template void group_norm_forward(const GroupNormForwardArgs<double>&);
template void group_norm_backward(const GroupNormBackwardArgs<float>&);
template void group_norm_backward(const GroupNormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::lanes
