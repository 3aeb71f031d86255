#include "evenkeel/kernels/norm.h"

#include <algorithm>

#include "evenkeel/kernels/cpu/lanes/ops.h"
#include "evenkeel/kernels/cpu/lanes/statistics.h"
#include "evenkeel/kernels/cpu/parallel.h"

namespace evenkeel::cpu::EK_ISA::lanes {
namespace {

/// All channels of pixel `i` of [blocks, S].
template <typename T>
void normalize_pixel(const NormForwardArgs<T>& a, std::int64_t i, int part) {
  const std::int64_t at = i / a.S * a.C * a.S + i % a.S;
  const auto x = column(a.x, part) + at;
  const auto y = column(a.y, part) + at;
  const auto [mean, variance] =
      lane_moments<T>(a.C, [=](std::int64_t c) EK_INLINE_LAMBDA { return Doubles<T>(x[c * a.S]); });
  const Doubles<T> rstd = (variance + Doubles<T>(a.eps)).rsqrt();
  column(a.mean, part)[i] = mean.rounded();
  column(a.rstd, part)[i] = rstd.rounded();
  for (std::int64_t c = 0; c < a.C; ++c) {
    const double gamma = a.gamma != nullptr ? a.gamma[c] : 1, beta = a.beta != nullptr ? a.beta[c] : 0;
    y[c * a.S] = ((Doubles<T>(x[c * a.S]) - mean) * rstd * gamma + Doubles<T>(beta)).rounded();
  }
}

/// dx of pixel `i`, and in `rest` what rounding took from its means.
template <typename T>
void pixel_input_gradient(const NormBackwardArgs<T>& a, T* rest, std::int64_t i, int part) {
  const std::int64_t at = i / a.S * a.C * a.S + i % a.S;
  const auto x = column(a.x, part) + at, dy = column(a.dy, part) + at;
  const Register<T> mean = column(a.mean, part)[i], rstd = column(a.rstd, part)[i];
  const double count = static_cast<double>(a.C);
  const auto gamma = [&](std::int64_t c) EK_INLINE_LAMBDA { return a.gamma != nullptr ? a.gamma[c] : T(1); };
  LaneGradientSums<T> sums;
  for (std::int64_t c = 0; c < a.C; ++c) sums.add(gamma(c) * dy[c * a.S], x[c * a.S] - mean);
  const Doubles<T> left = sums.x / count;
  const Register<T> low = left.rounded();
  column(rest, part)[i] = low;
  const Register<T> offset = (sums.dy / count).rounded();
  const Register<T> along = (sums.dy_xhat(left, Doubles<T>(rstd)) / count).rounded() * rstd;
  for (std::int64_t c = 0; a.dx != nullptr && c < a.C; ++c) {
    const Register<T> centred = (x[c * a.S] - mean) - low;
    column(a.dx, part)[at + c * a.S] = rstd * (gamma(c) * dy[c * a.S] - centred * along - offset);
  }
}

/// The sums over a block's first `count` images of plane `i` of [blocks, C].
template <typename T>
AffineGradients plane_gradients(const NormBackwardArgs<T>& a, const T* rest, std::int64_t i,
                                std::int64_t count) {
  const std::int64_t at = i / a.C * a.S;
  LaneTotals<T> dgammas, dbetas;
  for (int part = 0; part < kParts; ++part) {
    const auto x = column(a.x, part) + i * a.S, dy = column(a.dy, part) + i * a.S;
    const auto mean = column(a.mean, part) + at, rstd = column(a.rstd, part) + at,
               low = column(rest, part) + at;
    Doubles<T> dgamma, dbeta;
    for (std::int64_t s = 0; s < a.S; ++s) {
      const Register<T> along = dy[s] * (((x[s] - mean[s]) - low[s]) * rstd[s]);
      dgamma += Doubles<T>(along);
      dbeta += Doubles<T>(dy[s]);
    }
    dgammas.set(part, dgamma);
    dbetas.set(part, dbeta);
  }
  return {dgammas.sum(count), dbetas.sum(count)};
}

}  // namespace

template <typename T>
void layer_norm2d_forward(const NormForwardArgs<T>& a) {
  parallel_for(lane_blocks<T>(a.N) * a.S, 5 * a.C * kLanes<T>, [&](std::int64_t i) {
    for (int part = 0; part < kParts; ++part) normalize_pixel(a, i, part);
  });
}

template <typename T>
void layer_norm2d_backward(const NormBackwardArgs<T>& a) {
  const std::int64_t blocks = lane_blocks<T>(a.N);
  static thread_local Scratch rests;
  T* rest = rests.get<T>(blocks * a.S * kLanes<T>);
  parallel_for(blocks * a.S, 6 * a.C * kLanes<T>, [&](std::int64_t i) {
    for (int part = 0; part < kParts; ++part) pixel_input_gradient(a, rest, i, part);
  });
  if (a.dgamma == nullptr && a.dbeta == nullptr) return;
  static thread_local Scratch sums;
  auto* planes = sums.get<AffineGradients>(blocks * a.C);
  parallel_for(blocks * a.C, 4 * a.S * kLanes<T>, [&](std::int64_t i) {
    planes[i] = plane_gradients(a, rest, i, images_of_block<T>(a.N, i / a.C));
  });
  sum_affine_gradients(a.dgamma, a.dbeta, planes, blocks, a.C);
}

template void layer_norm2d_forward(const NormForwardArgs<float>&);
template void layer_norm2d_forward(const NormForwardArgs<double>&);
template void layer_norm2d_backward(const NormBackwardArgs<float>&);
template void layer_norm2d_backward(const NormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA::lanes
