#include "evenkeel/kernels/cpu/norm.h"

#include <algorithm>

#include "evenkeel/kernels/cpu/norm_common.h"
#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/kernels/cpu/scratch.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

/// A strip: so many neighbouring pixels are worked on at once, in all channels.
constexpr std::int64_t kPixels = 64;

/// Where the strips of an image start and how many images and strips there are.
struct Strips {
  std::int64_t per_image, count;
  Strips(std::int64_t N, std::int64_t S) : per_image((S + kPixels - 1) / kPixels), count(N * per_image) {}
};

template <typename T>
void normalize_strip(const NormForwardArgs<T>& a, std::int64_t n, std::int64_t s0, std::int64_t pixels) {
  const T* x = a.x + n * a.C * a.S + s0;
  T* y = a.y + n * a.C * a.S + s0;
  double sum[kPixels] = {}, squares[kPixels] = {};
  T high[kPixels], low[kPixels], rstd[kPixels];  // apart, so that the last loop is vector code
  for (std::int64_t c = 1; c < a.C; ++c) {
    for (std::int64_t s = 0; s < pixels; ++s) {
      const double d = static_cast<double>(x[c * a.S + s]) - static_cast<double>(x[s]);
      sum[s] += d;
      squares[s] += d * d;
    }
  }
  for (std::int64_t s = 0; s < pixels; ++s) {
    const Moments m = shifted_moments(static_cast<double>(a.C), x[s], sum[s], squares[s]);
    const SplitMean<T> mean = split<T>(m.mean);
    high[s] = a.mean[n * a.S + s0 + s] = mean.high;
    low[s] = mean.low;
    rstd[s] = a.rstd[n * a.S + s0 + s] = static_cast<T>(rstd_of(m.variance(), a.eps));
  }
  for (std::int64_t c = 0; c < a.C; ++c) {
    const T gamma = a.gamma != nullptr ? a.gamma[c] : T(1), beta = a.beta != nullptr ? a.beta[c] : T(0);
    for (std::int64_t s = 0; s < pixels; ++s) {
      const SetStatistics<T> pixel{{high[s], low[s]}, rstd[s]};
      y[c * a.S + s] = scaled_and_shifted(pixel.xhat(x[c * a.S + s]), gamma, beta);
    }
  }
}

/// dx of one strip, unless null, and in `rest` what rounding took from the mean of each pixel.
template <typename T>
void strip_input_gradient(const NormBackwardArgs<T>& a, T* rest, std::int64_t n, std::int64_t s0,
                          std::int64_t pixels) {
  const std::int64_t at = n * a.C * a.S + s0;
  const T *x = a.x + at, *dy = a.dy + at, *mean = a.mean + n * a.S + s0, *rstd = a.rstd + n * a.S + s0;
  const Count<double> count(a.C);
  double sum_g[kPixels] = {}, sum_g_x[kPixels] = {}, sum_x[kPixels] = {};
  for (std::int64_t c = 0; c < a.C; ++c) {
    const T gamma = a.gamma != nullptr ? a.gamma[c] : T(1);
    for (std::int64_t s = 0; s < pixels; ++s) {
      const T g = gamma * dy[c * a.S + s], centred = x[c * a.S + s] - mean[s];
      sum_g[s] += static_cast<double>(g);
      sum_g_x[s] += static_cast<double>(g * centred);
      sum_x[s] += static_cast<double>(centred);
    }
  }
  T mean_g[kPixels], mean_g_xhat[kPixels];
  for (std::int64_t s = 0; s < pixels; ++s) {
    const GradientSums<double> sums{sum_g[s], sum_g_x[s], sum_x[s]};
    const double left = sums.rest(count);
    const GradientMeans<T> means = rounded<T>(sums.means(count, left, static_cast<double>(rstd[s])));
    rest[s] = static_cast<T>(left);
    mean_g[s] = means.g;
    mean_g_xhat[s] = means.g_xhat;
  }
  for (std::int64_t c = 0; a.dx != nullptr && c < a.C; ++c) {
    const T gamma = a.gamma != nullptr ? a.gamma[c] : T(1);
    for (std::int64_t s = 0; s < pixels; ++s) {
      const SetStatistics<T> pixel{{mean[s], rest[s]}, rstd[s]};
      const GradientMeans<T> means{mean_g[s], mean_g_xhat[s]};
      a.dx[at + c * a.S + s] = means.dx(gamma * dy[c * a.S + s], pixel.xhat(x[c * a.S + s]), rstd[s]);
    }
  }
}

/// Sums over one plane; mean, rest and rstd are per pixel.
template <typename T>
AffineGradients plane_affine_gradients(const T* dy, const T* x, const T* mean, const T* rest, const T* rstd,
                                       std::int64_t S) {
  const auto [dgamma, dbeta] = lane_sums(
      S,
      [=](std::int64_t s) EK_INLINE_LAMBDA {
        const SetStatistics<T> pixel{{mean[s], rest[s]}, rstd[s]};
        return static_cast<double>(dy[s] * pixel.xhat(x[s]));
      },
      [=](std::int64_t s) EK_INLINE_LAMBDA { return static_cast<double>(dy[s]); });
  return {dgamma, dbeta};
}

}  // namespace

template <typename T>
void layer_norm2d_forward(const NormForwardArgs<T>& a) {
  const Strips strips(a.N, a.S);
  parallel_for(strips.count, 5 * a.C * kPixels, [&](std::int64_t i) {
    const std::int64_t s0 = i % strips.per_image * kPixels;
    normalize_strip(a, i / strips.per_image, s0, std::min(kPixels, a.S - s0));
  });
}

template <typename T>
void layer_norm2d_backward(const NormBackwardArgs<T>& a) {
  const Strips strips(a.N, a.S);
  static thread_local Scratch rests, sums;
  T* rest = rests.get<T>(a.N * a.S);
  parallel_for(strips.count, 6 * a.C * kPixels, [&](std::int64_t i) {
    const std::int64_t n = i / strips.per_image, s0 = i % strips.per_image * kPixels;
    strip_input_gradient(a, rest + n * a.S + s0, n, s0, std::min(kPixels, a.S - s0));
  });
  if (a.dgamma == nullptr && a.dbeta == nullptr) return;
  auto* planes = sums.get<AffineGradients>(a.N * a.C);
  parallel_for(a.N * a.C, 4 * a.S, [&](std::int64_t i) {
    const std::int64_t at = i / a.C * a.S;
    planes[i] =
        plane_affine_gradients(a.dy + i * a.S, a.x + i * a.S, a.mean + at, rest + at, a.rstd + at, a.S);
  });
  sum_affine_gradients(a.dgamma, a.dbeta, planes, a.N, a.C);
}

template void layer_norm2d_forward(const NormForwardArgs<float>&);
template void layer_norm2d_forward(const NormForwardArgs<double>&);
template void layer_norm2d_backward(const NormBackwardArgs<float>&);
template void layer_norm2d_backward(const NormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
