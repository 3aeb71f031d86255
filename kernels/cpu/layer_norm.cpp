#include "kernels/layer_norm.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/lanes/ops.h"
#include "kernels/cpu/norm_common.h"
#include "kernels/cpu/parallel.h"

namespace evenkeel::cpu {
namespace {

/// One row: y = (x - mean) * rstd * gamma + beta.
template <typename T>
EK_SIMD void normalize_row(T* y, T* mean, T* rstd, const T* x, const T* gamma, const T* beta, std::int64_t D,
                           double eps) {
  const Moments m = moments(x, D);
  const SplitMean<T> centre(m.mean);
  const T scale = static_cast<T>(1 / std::sqrt(m.m2 / m.count + eps));
  *mean = static_cast<T>(m.mean);
  *rstd = scale;
  if (gamma != nullptr && beta != nullptr) {
    for (std::int64_t d = 0; d < D; ++d) y[d] = centre.centre(x[d]) * scale * gamma[d] + beta[d];
  } else {
    for (std::int64_t d = 0; d < D; ++d) y[d] = centre.centre(x[d]) * scale;
    for (std::int64_t d = 0; gamma != nullptr && d < D; ++d) y[d] *= gamma[d];
    for (std::int64_t d = 0; beta != nullptr && d < D; ++d) y[d] += beta[d];
  }
}

/// One row of dx, with g = gamma dy. Returns what rounding took from the row's mean.
template <typename T>
EK_SIMD double row_input_gradient(T* dx, const T* dy, const T* x, const T* gamma, std::int64_t D, T mean,
                                  T rstd) {
  const double count = static_cast<double>(D);
  const auto g = [=](std::int64_t d) { return gamma != nullptr ? dy[d] * gamma[d] : dy[d]; };
  const GradientSums sums{
      lane_sum(D, [=](std::int64_t d) { return static_cast<double>(g(d)); }),
      lane_sum(D, [=](std::int64_t d) { return static_cast<double>(g(d) * (x[d] - mean)); }),
      lane_sum(D, [=](std::int64_t d) { return static_cast<double>(x[d] - mean); })};
  const double rest = sums.rest(count);
  if (dx == nullptr) return rest;
  const SplitMean<T> split(mean, rest);
  const T offset = static_cast<T>(sums.dy / count);
  const T along = static_cast<T>(sums.dy_xhat(rest, rstd) / count) * rstd;
  for (std::int64_t d = 0; d < D; ++d) dx[d] = rstd * (g(d) - split.centre(x[d]) * along - offset);
  return rest;
}

/// dgamma += dy xhat and dbeta += dy for one row.
template <typename T>
EK_SIMD void add_row_gradients(double* dgamma, double* dbeta, const T* dy, const T* x, std::int64_t D,
                               SplitMean<T> mean, T rstd) {
  for (std::int64_t d = 0; d < D; ++d) dgamma[d] += static_cast<double>(dy[d] * (mean.centre(x[d]) * rstd));
  for (std::int64_t d = 0; d < D; ++d) dbeta[d] += static_cast<double>(dy[d]);
}

}  // namespace

template <typename T>
void layer_norm_forward(const LayerNormForwardArgs<T>& a) {
  if (a.format == MemoryFormat::lanes) return lanes::layer_norm_forward(a);
  parallel_for(a.M, 5 * a.D, [&](std::int64_t m) {
    normalize_row(a.y + m * a.D, a.mean + m, a.rstd + m, a.x + m * a.D, a.gamma, a.beta, a.D, a.eps);
  });
}

template <typename T>
void layer_norm_backward(const LayerNormBackwardArgs<T>& a) {
  if (a.format == MemoryFormat::lanes) return lanes::layer_norm_backward(a);
  std::vector<double> rest(a.M);
  parallel_for(a.M, 6 * a.D, [&](std::int64_t m) {
    T* dx = a.dx != nullptr ? a.dx + m * a.D : nullptr;
    rest[m] = row_input_gradient(dx, a.dy + m * a.D, a.x + m * a.D, a.gamma, a.D, a.mean[m], a.rstd[m]);
  });
  if (a.dgamma == nullptr && a.dbeta == nullptr) return;
  // Two stages, so that the order of additions is fixed: each chunk of rows sums its own, then chunks are
  // added in order.
  const std::int64_t chunks = std::min<std::int64_t>(a.M, 16);
  std::vector<double> partial(chunks * 2 * a.D);
  parallel_for(chunks, 4 * a.D * (a.M / std::max<std::int64_t>(chunks, 1)), [&](std::int64_t k) {
    double* dgamma = partial.data() + k * 2 * a.D;
    for (std::int64_t m = k * a.M / chunks; m < (k + 1) * a.M / chunks; ++m) {
      add_row_gradients(dgamma, dgamma + a.D, a.dy + m * a.D, a.x + m * a.D, a.D,
                        SplitMean<T>(a.mean[m], rest[m]), a.rstd[m]);
    }
  });
  parallel_for(a.D, 2 * chunks, [&](std::int64_t d) {
    double dgamma = 0, dbeta = 0;
    for (std::int64_t k = 0; k < chunks; ++k) {
      dgamma += partial[k * 2 * a.D + d];
      dbeta += partial[k * 2 * a.D + a.D + d];
    }
    if (a.dgamma != nullptr) a.dgamma[d] = static_cast<T>(dgamma);
    if (a.dbeta != nullptr) a.dbeta[d] = static_cast<T>(dbeta);
  });
}

template void layer_norm_forward(const LayerNormForwardArgs<float>&);
template void layer_norm_forward(const LayerNormForwardArgs<double>&);
template void layer_norm_backward(const LayerNormBackwardArgs<float>&);
template void layer_norm_backward(const LayerNormBackwardArgs<double>&);

}  // namespace evenkeel::cpu
