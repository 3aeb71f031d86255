#include "kernels/layer_norm2d.h"

#include <algorithm>

#include "kernels/cpu/lanes/ops.h"
#include "kernels/cpu/lanes/statistics.h"
#include "kernels/cpu/parallel.h"

namespace evenkeel::cpu::lanes {
namespace {

/// All channels of pixel `i` of [blocks, S].
template <typename T>
EK_SIMD void normalize_pixel(const LayerNorm2dForwardArgs<T>& a, std::int64_t i) {
  const std::int64_t at = i / a.S * a.C * a.S + i % a.S;
  const Vec<T>* x = as_lanes(a.x) + at;
  Vec<T>* y = as_lanes(a.y) + at;
  const double count = static_cast<double>(a.C);
  Doubles<T> mean, rest, squares;
  for (std::int64_t c = 0; c < a.C; ++c) mean += Doubles<T>(x[c * a.S]);
  mean = mean / count;
  for (std::int64_t c = 0; c < a.C; ++c) {
    const Doubles<T> d = Doubles<T>(x[c * a.S]) - mean;
    rest += d;
    squares += d * d;
  }
  rest = rest / count;  // the rounding error of the mean, as in moments()
  mean += rest;
  const Doubles<T> rstd = (squares / count - rest * rest + Doubles<T>(a.eps)).rsqrt();
  as_lanes(a.mean)[i] = mean.rounded();
  as_lanes(a.rstd)[i] = rstd.rounded();
  for (std::int64_t c = 0; c < a.C; ++c) {
    const double gamma = a.gamma != nullptr ? a.gamma[c] : 1, beta = a.beta != nullptr ? a.beta[c] : 0;
    y[c * a.S] = ((Doubles<T>(x[c * a.S]) - mean) * rstd * gamma + Doubles<T>(beta)).rounded();
  }
}

/// dx of pixel `i`, and in `rest` what rounding took from its means.
template <typename T>
EK_SIMD void pixel_input_gradient(const LayerNorm2dBackwardArgs<T>& a, Vec<T>* rest, std::int64_t i) {
  const std::int64_t at = i / a.S * a.C * a.S + i % a.S;
  const Vec<T>*x = as_lanes(a.x) + at, *dy = as_lanes(a.dy) + at;
  const Vec<T> mean = as_lanes(a.mean)[i], rstd = as_lanes(a.rstd)[i];
  const double count = static_cast<double>(a.C);
  const auto gamma = [&](std::int64_t c) __attribute__((always_inline)) {
    return a.gamma != nullptr ? a.gamma[c] : T(1);
  };
  LaneGradientSums<T> sums;
  for (std::int64_t c = 0; c < a.C; ++c) sums.add(gamma(c) * dy[c * a.S], x[c * a.S] - mean);
  const Doubles<T> left = sums.x / count;
  rest[i] = left.rounded();
  const Vec<T> offset = (sums.dy / count).rounded();
  const Vec<T> along = (sums.dy_xhat(left, Doubles<T>(rstd)) / count).rounded() * rstd;
  for (std::int64_t c = 0; a.dx != nullptr && c < a.C; ++c) {
    const Vec<T> centred = (x[c * a.S] - mean) - rest[i];
    as_lanes(a.dx)[at + c * a.S] = rstd * (gamma(c) * dy[c * a.S] - centred * along - offset);
  }
}

/// The sums over a block's first `count` images of plane `i` of [blocks, C].
template <typename T>
EK_SIMD AffineGradients plane_gradients(const LayerNorm2dBackwardArgs<T>& a, const Vec<T>* rest,
                                        std::int64_t i, std::int64_t count) {
  const Vec<T>*x = as_lanes(a.x) + i * a.S, *dy = as_lanes(a.dy) + i * a.S;
  const std::int64_t at = i / a.C * a.S;
  const Vec<T>*mean = as_lanes(a.mean) + at, *rstd = as_lanes(a.rstd) + at;
  Doubles<T> dgamma, dbeta;
  for (std::int64_t s = 0; s < a.S; ++s) {
    dgamma += Doubles<T>(dy[s] * (((x[s] - mean[s]) - rest[at + s]) * rstd[s]));
    dbeta += Doubles<T>(dy[s]);
  }
  return {dgamma.total(count), dbeta.total(count)};
}

}  // namespace

template <typename T>
void layer_norm2d_forward(const LayerNorm2dForwardArgs<T>& a) {
  parallel_for(lane_blocks<T>(a.N) * a.S, 5 * a.C * kLanes<T>,
               [&](std::int64_t i) { normalize_pixel(a, i); });
}

template <typename T>
void layer_norm2d_backward(const LayerNorm2dBackwardArgs<T>& a) {
  const std::int64_t blocks = lane_blocks<T>(a.N);
  static thread_local Scratch<T> rests;
  Vec<T>* rest = rests.get(blocks * a.S);
  parallel_for(blocks * a.S, 6 * a.C * kLanes<T>, [&](std::int64_t i) { pixel_input_gradient(a, rest, i); });
  if (a.dgamma == nullptr && a.dbeta == nullptr) return;
  static thread_local Scratch<double> sums;
  auto* planes = reinterpret_cast<AffineGradients*>(sums.numbers(2 * blocks * a.C));
  parallel_for(blocks * a.C, 4 * a.S * kLanes<T>, [&](std::int64_t i) {
    planes[i] = plane_gradients(a, rest, i, images_of_block<T>(a.N, i / a.C));
  });
  sum_affine_gradients(a.dgamma, a.dbeta, planes, blocks, a.C);
}

template void layer_norm2d_forward(const LayerNorm2dForwardArgs<float>&);
template void layer_norm2d_forward(const LayerNorm2dForwardArgs<double>&);
template void layer_norm2d_backward(const LayerNorm2dBackwardArgs<float>&);
template void layer_norm2d_backward(const LayerNorm2dBackwardArgs<double>&);

}  // namespace evenkeel::cpu::lanes
