#include "kernels/batch_norm.h"

#include <vector>

#include "kernels/cpu/norm_common.h"
#include "kernels/cpu/parallel.h"

namespace evenkeel::cpu {
namespace {

/// Mean and rstd of every channel of the batch, and the running statistics' update.
template <typename T>
std::vector<Moments> batch_statistics(const BatchNormForwardArgs<T>& a) {
  std::vector<Moments> planes(a.N * a.C), channels(a.C);
  parallel_for(a.N * a.C, 3 * a.S, [&](std::int64_t i) { planes[i] = plane_moments(a.x + i * a.S, a.S); });
  for (std::int64_t c = 0; c < a.C; ++c) {
    Moments& total = channels[c];
    for (std::int64_t n = 0; n < a.N; ++n) total.merge(planes[n * a.C + c]);
    a.mean[c] = static_cast<T>(total.mean);
    a.rstd[c] = static_cast<T>(1 / std::sqrt(total.m2 / total.count + a.eps));
    if (a.running_mean != nullptr) {
      const double unbiased = total.m2 / (total.count - 1);
      a.running_mean[c] += static_cast<T>(a.momentum * (total.mean - static_cast<double>(a.running_mean[c])));
      a.running_var[c] += static_cast<T>(a.momentum * (unbiased - static_cast<double>(a.running_var[c])));
    }
  }
  return channels;
}

}  // namespace

template <typename T>
void batch_norm_forward(const BatchNormForwardArgs<T>& a) {
  std::vector<Moments> channels;
  if (a.training) {
    channels = batch_statistics(a);
  } else {
    for (std::int64_t c = 0; c < a.C; ++c) {
      channels.push_back({1, static_cast<double>(a.running_mean[c]), static_cast<double>(a.running_var[c])});
      a.mean[c] = a.running_mean[c];
      a.rstd[c] = static_cast<T>(1 / std::sqrt(static_cast<double>(a.running_var[c]) + a.eps));
    }
  }
  parallel_for(a.N * a.C, 2 * a.S, [&](std::int64_t i) {
    const std::int64_t c = i % a.C;
    const T scale = a.gamma != nullptr ? a.gamma[c] * a.rstd[c] : a.rstd[c];
    const T shift = a.beta != nullptr ? a.beta[c] : T(0);
    scale_plane(a.y + i * a.S, a.x + i * a.S, a.S, SplitMean<T>(channels[c].mean), scale, shift);
  });
}

template <typename T>
void batch_norm_backward(const BatchNormBackwardArgs<T>& a) {
  std::vector<GradientSums> planes(a.N * a.C), channels(a.C);
  parallel_for(a.N * a.C, 3 * a.S, [&](std::int64_t i) {
    planes[i] = plane_gradient_sums(a.dy + i * a.S, a.x + i * a.S, a.S, a.mean[i % a.C]);
  });
  const double m = static_cast<double>(a.N * a.S);
  std::vector<double> rest(a.C), dy_xhat(a.C);
  for (std::int64_t c = 0; c < a.C; ++c) {
    for (std::int64_t n = 0; n < a.N; ++n) channels[c].add(planes[n * a.C + c]);
    rest[c] = a.training ? channels[c].rest(m) : 0;  // the running mean is no mean of this batch
    dy_xhat[c] = channels[c].dy_xhat(rest[c], a.rstd[c]);
    if (a.dgamma != nullptr) a.dgamma[c] = static_cast<T>(dy_xhat[c]);
    if (a.dbeta != nullptr) a.dbeta[c] = static_cast<T>(channels[c].dy);
  }
  if (a.dx == nullptr) return;
  parallel_for(a.N * a.C, 3 * a.S, [&](std::int64_t i) {
    const std::int64_t c = i % a.C;
    const double rstd = a.rstd[c], scale = a.gamma != nullptr ? a.gamma[c] * rstd : rstd;
    const double along_xhat = a.training ? scale * rstd * dy_xhat[c] / m : 0;
    const double offset = a.training ? scale * channels[c].dy / m : 0;
    gradient_plane(a.dx + i * a.S, a.dy + i * a.S, a.x + i * a.S, a.S, SplitMean<T>(a.mean[c], rest[c]),
                   static_cast<T>(scale), static_cast<T>(along_xhat), static_cast<T>(offset));
  });
}

template void batch_norm_forward(const BatchNormForwardArgs<float>&);
template void batch_norm_forward(const BatchNormForwardArgs<double>&);
template void batch_norm_backward(const BatchNormBackwardArgs<float>&);
template void batch_norm_backward(const BatchNormBackwardArgs<double>&);

}  // namespace evenkeel::cpu
