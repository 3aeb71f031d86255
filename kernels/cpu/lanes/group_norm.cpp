#include "evenkeel/kernels/norm.h"

#include <algorithm>

#include "evenkeel/kernels/cpu/lanes/ops.h"
#include "evenkeel/kernels/cpu/lanes/statistics.h"
#include "evenkeel/kernels/cpu/parallel.h"

namespace evenkeel::cpu::EK_ISA::lanes {
namespace {

/// Group `i` of [blocks, G]: a dense run of vectors.
template <typename T>
void normalize_group(const NormForwardArgs<T>& a, std::int64_t i, int part) {
  const std::int64_t channels = a.C / a.G, size = channels * a.S;
  const auto x = column(a.x, part) + i * size;
  const auto y = column(a.y, part) + i * size;
  const LaneMoments<T> m = lane_moments<T>(x, size, a.relu);
  const Doubles<T> rstd = (m.variance + Doubles<T>(a.eps)).rsqrt();
  const LaneSplitMean<T> mean(m.mean);
  column(a.mean, part)[i] = mean.high;
  column(a.rstd, part)[i] = rstd.rounded();
  for (std::int64_t k = 0; k < channels; ++k) {
    const std::int64_t c = i % a.G * channels + k;
    const Register<T> scale = (a.gamma != nullptr ? rstd * static_cast<double>(a.gamma[c]) : rstd).rounded();
    const T shift = a.beta != nullptr ? a.beta[c] : T(0);
    for (std::int64_t s = k * a.S; s < (k + 1) * a.S; ++s)
      y[s] = mean.centre(rectified<T>(x[s], a.relu)) * scale + shift;
  }
}

/// dgamma and dbeta of a channel, a lane for each image.
template <typename T>
struct LaneAffine {
  LaneTotals<T> dgamma, dbeta;
};

/// dx of group `i`, and what dgamma and dbeta need.
template <typename T>
void group_gradient(const NormBackwardArgs<T>& a, LaneAffine<T>* affine, std::int64_t i, int part) {
  const std::int64_t channels = a.C / a.G, size = channels * a.S;
  const auto x = column(a.x, part) + i * size, dy = column(a.dy, part) + i * size;
  const Register<T> saved = column(a.mean, part)[i];
  const Doubles<T> rstd(column(a.rstd, part)[i]);
  const auto gamma = [&](std::int64_t k) EK_INLINE_LAMBDA {
    return a.gamma != nullptr ? static_cast<double>(a.gamma[i % a.G * channels + k]) : 1.0;
  };
  LaneGradientSums<T> group;  // of g = gamma dy
  static thread_local Scratch scratch;
  auto* planes = scratch.get<LaneGradientSums<T>>(channels);
  for (std::int64_t k = 0; k < channels; ++k) {
    LaneGradientSums<T> sums;
    for (std::int64_t s = k * a.S; s < (k + 1) * a.S; ++s)
      sums.add(dy[s], rectified<T>(x[s], a.relu) - saved);
    group.add(sums, gamma(k));
    planes[k] = sums;
  }
  const Doubles<T> rest = group.x / static_cast<double>(size);
  for (std::int64_t k = 0; k < channels; ++k) {
    affine[k].dgamma.set(part, planes[k].dy_xhat(rest, rstd));
    affine[k].dbeta.set(part, planes[k].dy);
  }
  if (a.dx == nullptr) return;
  const auto dx = column(a.dx, part) + i * size;
  const LaneSplitMean<T> mean(saved, rest);
  const Doubles<T> dy_xhat = group.dy_xhat(rest, rstd);
  const LaneAlongXhat<T> along((rstd * rstd * dy_xhat / static_cast<double>(size)).rounded(),
                               (rstd * dy_xhat / static_cast<double>(size)).rounded(),
                               column(a.rstd, part)[i]);
  const Register<T> offset = (rstd * group.dy / static_cast<double>(size)).rounded();
  for (std::int64_t k = 0; k < channels; ++k) {
    const Register<T> scale = (rstd * gamma(k)).rounded();
    for (std::int64_t s = k * a.S; s < (k + 1) * a.S; ++s) {
      Register<T> centred = mean.centre(rectified<T>(x[s], a.relu));
      if (along.has_units) centred *= along.unit;
      const Register<T> gradient = scale * dy[s] - centred * along.coefficient - offset;
      dx[s] = rectified_gradient<T>(gradient, x[s], a.relu);
    }
  }
}

}  // namespace

template <typename T>
void group_norm_forward(const NormForwardArgs<T>& a) {
  parallel_for(lane_blocks<T>(a.N) * a.G, 5 * a.C / a.G * a.S * kLanes<T>, [&](std::int64_t i) {
    for (int part = 0; part < kParts; ++part) normalize_group(a, i, part);
  });
}

template <typename T>
void group_norm_backward(const NormBackwardArgs<T>& a) {
  const std::int64_t blocks = lane_blocks<T>(a.N), channels = a.C / a.G;
  static thread_local Scratch scratch;
  auto* affine = scratch.get<AffineGradients>(blocks * a.C);
  parallel_for(blocks * a.G, 6 * channels * a.S * kLanes<T>, [&](std::int64_t i) {
    static thread_local Scratch lane_scratch;
    auto* lanes = lane_scratch.get<LaneAffine<T>>(channels);
    for (int part = 0; part < kParts; ++part) group_gradient(a, lanes, i, part);
    const std::int64_t count = images_of_block<T>(a.N, i / a.G);
    for (std::int64_t k = 0; k < channels; ++k)
      affine[i * channels + k] = {lanes[k].dgamma.sum(count), lanes[k].dbeta.sum(count)};
  });
  sum_affine_gradients(a.dgamma, a.dbeta, affine, blocks, a.C);
}

template void group_norm_forward(const NormForwardArgs<float>&);
template void group_norm_forward(const NormForwardArgs<double>&);
template void group_norm_backward(const NormBackwardArgs<float>&);
template void group_norm_backward(const NormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA::lanes
