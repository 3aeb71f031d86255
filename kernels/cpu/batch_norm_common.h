// The part of batch normalization between its two passes over the elements: what it does with the statistics
// of channels. Both memory formats share it; a part is a plane in one, the planes of a block in the other.
#pragma once

#include "kernels/batch_norm.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/norm_common.h"

namespace evenkeel::cpu::EK_ISA {

/// y = (x - mean) * scale + shift for a channel.
template <typename T>
struct Normalizer {
  SplitMean<T> mean;
  T scale, shift;
};

/// dx = scale * dy - (x - mean) * along_xhat - offset for a channel.
template <typename T>
struct GradientMap {
  SplitMean<T> mean;
  T scale, along_xhat, offset;
};

/// Memory of the calling thread: Moments or GradientSums of parts [parts, C], and what follows from them [C].
struct BatchScratch {
  Scratch parts, channels;
};

inline BatchScratch& batch_scratch() {
  static thread_local BatchScratch scratch;
  return scratch;
}

/// Mean and rstd of every channel, from the Moments in scratch of `parts` parts when training, and the
/// running statistics' update.
template <typename T>
const Normalizer<T>* channel_statistics(const BatchNormForwardArgs<T>& a, BatchScratch& scratch,
                                        std::int64_t parts) {
  auto* channels = scratch.channels.get<Normalizer<T>>(a.C);
  const Moments* moments = scratch.parts.get<Moments>(0);
  for (std::int64_t c = 0; c < a.C; ++c) {
    double mean = 0, variance = 0;
    if (a.training) {
      const Moments total = merged(moments + c, parts, a.C);
      mean = total.mean;
      variance = total.m2 / total.count;
      if (a.running_mean != nullptr) {
        const double unbiased = total.m2 / (total.count - 1);
        a.running_mean[c] += static_cast<T>(a.momentum * (mean - static_cast<double>(a.running_mean[c])));
        a.running_var[c] += static_cast<T>(a.momentum * (unbiased - static_cast<double>(a.running_var[c])));
      }
    } else {
      mean = static_cast<double>(a.running_mean[c]);
      variance = static_cast<double>(a.running_var[c]);
    }
    a.mean[c] = static_cast<T>(mean);
    a.rstd[c] = static_cast<T>(1 / std::sqrt(variance + a.eps));
    channels[c] = {SplitMean<T>(mean), a.gamma != nullptr ? a.gamma[c] * a.rstd[c] : a.rstd[c],
                   a.beta != nullptr ? a.beta[c] : T(0)};
  }
  return channels;
}

/// dgamma and dbeta, and how dx follows, from the GradientSums in scratch of `parts` parts.
template <typename T>
const GradientMap<T>* channel_gradients(const BatchNormBackwardArgs<T>& a, BatchScratch& scratch,
                                        std::int64_t parts) {
  auto* channels = scratch.channels.get<GradientMap<T>>(a.C);
  const GradientSums* sums = scratch.parts.get<GradientSums>(0);
  const double m = static_cast<double>(a.N * a.S);
  for (std::int64_t c = 0; c < a.C; ++c) {
    GradientSums total;
    for (std::int64_t i = 0; i < parts; ++i) total.add(sums[i * a.C + c]);
    const double rest = a.training ? total.rest(m) : 0;  // the running mean is no mean of this batch
    const double rstd = a.rstd[c], dy_xhat = total.dy_xhat(rest, rstd);
    if (a.dgamma != nullptr) a.dgamma[c] = static_cast<T>(dy_xhat);
    if (a.dbeta != nullptr) a.dbeta[c] = static_cast<T>(total.dy);
    const double scale = a.gamma != nullptr ? a.gamma[c] * rstd : rstd;
    channels[c] = {SplitMean<T>(a.mean[c], rest), static_cast<T>(scale),
                   static_cast<T>(a.training ? scale * rstd * dy_xhat / m : 0),
                   static_cast<T>(a.training ? scale * total.dy / m : 0)};
  }
  return channels;
}

}  // namespace evenkeel::cpu::EK_ISA
