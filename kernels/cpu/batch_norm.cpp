// Batch norm: the moments of planes, the statistics of channels from them, and a second pass over the planes.
// The planes of x lie [N, C].
#include <algorithm>

#include "evenkeel/kernels/cpu/norm.h"
#include "evenkeel/kernels/cpu/norm_common.h"
#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/kernels/cpu/scratch.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

/// What the pass over y needs of a channel.
template <typename T>
struct ChannelForward {
  SetStatistics<T> set;
  T gamma, beta;
};

/// What the pass over dx needs of a channel.
template <typename T>
struct ChannelBackward {
  SetStatistics<T> set;
  T gamma;
  GradientMeans<T> means;
};

/// Memory of the calling thread: Moments or GradientSums of parts, and what follows from them [C].
struct BatchScratch {
  Scratch parts, channels;
};

BatchScratch& batch_scratch() {
  static thread_local BatchScratch scratch;
  return scratch;
}

/// Calls measure(i) for every part, then follow(c) for its channel, then apply(i). A task is as many
/// neighbouring channels as fit into a core's share of the caches, which apply() then reads, and as leave
/// work for all threads. `bytes` of a part are read, and `cost` is the work of one call. What is computed
/// does not depend on the order.
template <typename Measure, typename Follow, typename Apply>
void for_channels(std::int64_t parts, std::int64_t C, std::int64_t bytes, std::int64_t cost,
                  const Measure& measure, const Follow& follow, const Apply& apply) {
  constexpr std::int64_t kCache = 4 << 20;
  const std::int64_t together = std::min(kCache / (parts * bytes), C / (2 * num_threads()));
  if (together > 0) {
    parallel_for((C + together - 1) / together, 2 * parts * cost * together, [&](std::int64_t task) {
      const std::int64_t begin = task * together, end = std::min(C, begin + together);
      for (std::int64_t i = 0; i < parts; ++i) {
        for (std::int64_t c = begin; c < end; ++c) measure(i * C + c);
      }
      for (std::int64_t c = begin; c < end; ++c) follow(c);
      for (std::int64_t i = parts - 1; i >= 0; --i) {  // what was read last comes first
        for (std::int64_t c = begin; c < end; ++c) apply(i * C + c);
      }
    });
    return;
  }
  parallel_for(parts * C, cost, measure);
  for (std::int64_t c = 0; c < C; ++c) follow(c);
  parallel_for(parts * C, cost, [&](std::int64_t task) { apply(parts * C - 1 - task); });
}

/// Mean and rstd of channel c, from the Moments of its parts when training, and the running statistics'
/// update.
template <typename T>
ChannelForward<T> channel_statistics(const NormForwardArgs<T>& a, const Moments* moments, std::int64_t parts,
                                     std::int64_t c) {
  double mean = 0, variance = 0;
  if (a.training) {
    const Moments total = merged(moments + c, parts, a.C);
    mean = total.mean;
    variance = total.variance();
    if (a.running_mean != nullptr) {
      const double unbiased = total.m2 / (total.count - 1);
      const auto move = [&](T& running, double batch) {
        running = static_cast<T>(moved_average(static_cast<double>(running), batch, a.momentum));
      };
      move(a.running_mean[c], mean);
      move(a.running_var[c], unbiased);
    }
  } else {
    mean = static_cast<double>(a.running_mean[c]);
    variance = static_cast<double>(a.running_var[c]);
  }
  a.mean[c] = static_cast<T>(mean);
  a.rstd[c] = static_cast<T>(rstd_of(variance, a.eps));
  const double rest = a.training ? mean - static_cast<double>(a.mean[c]) : 0;  // a running mean is a T
  return {{{a.mean[c], static_cast<T>(rest)}, a.rstd[c]},
          a.gamma != nullptr ? a.gamma[c] : T(1),
          a.beta != nullptr ? a.beta[c] : T(0)};
}

/// dgamma and dbeta of channel c, and how its dx follows, from the GradientSums of its parts.
template <typename T>
ChannelBackward<T> channel_gradients(const NormBackwardArgs<T>& a, const GradientSums<double>* sums,
                                     std::int64_t parts, std::int64_t c) {
  const Count<double> count(a.N * a.S);
  GradientSums<double> total, of_g;
  for (std::int64_t i = 0; i < parts; ++i) total.add(sums[i * a.C + c]);
  const T gamma = a.gamma != nullptr ? a.gamma[c] : T(1);
  of_g.add(total, static_cast<double>(gamma));
  const double rest = a.training ? total.rest(count) : 0;  // the running mean is no mean of this batch
  const double rstd = a.rstd[c];
  if (a.dgamma != nullptr)
    a.dgamma[c] = static_cast<T>(a.training ? total.dy_xhat(rest, rstd) : total.dy_x * rstd);
  if (a.dbeta != nullptr) a.dbeta[c] = static_cast<T>(total.dy);
  return {{{a.mean[c], static_cast<T>(rest)}, a.rstd[c]}, gamma, rounded<T>(of_g.means(count, rest, rstd))};
}

/// Forward over `parts` parts of `size` elements a channel; moments(i) are those of part i.
template <typename T, typename F>
void forward_by_channels(const NormForwardArgs<T>& a, std::int64_t parts, std::int64_t size,
                         const F& moments) {
  BatchScratch& scratch = batch_scratch();
  auto* of_part = scratch.parts.get<Moments>(parts * a.C);
  auto* channels = scratch.channels.get<ChannelForward<T>>(a.C);
  const bool streamed = is_streamed<T>(parts * a.C * size);
  for_channels(
      parts, a.C, size * static_cast<std::int64_t>(sizeof(T)), 3 * size,
      [&](std::int64_t i) {
        if (a.training) of_part[i] = moments(i);
      },
      [&](std::int64_t c) { channels[c] = channel_statistics(a, of_part, parts, c); },
      [&](std::int64_t i) {
        const ChannelForward<T>& c = channels[i % a.C];
        normalize_plane(a.y + i * size, a.x + i * size, size, c.set, c.gamma, c.beta, streamed);
      });
}

/// Backward over `parts` parts of `size` elements a channel; sums(i) are the GradientSums of part i.
template <typename T, typename F>
void backward_by_channels(const NormBackwardArgs<T>& a, std::int64_t parts, std::int64_t size,
                          const F& sums) {
  BatchScratch& scratch = batch_scratch();
  auto* of_part = scratch.parts.get<GradientSums<double>>(parts * a.C);
  auto* channels = scratch.channels.get<ChannelBackward<T>>(a.C);
  const bool streamed = is_streamed<T>(parts * a.C * size);
  for_channels(
      parts, a.C, 2 * size * static_cast<std::int64_t>(sizeof(T)), 3 * size,
      [&](std::int64_t i) { of_part[i] = sums(i); },
      [&](std::int64_t c) { channels[c] = channel_gradients(a, of_part, parts, c); },
      [&](std::int64_t i) {
        const ChannelBackward<T>& c = channels[i % a.C];
        const T* dy = a.dy + i * size;
        if (a.dx == nullptr) return;
        if (a.training) {
          gradient_plane(a.dx + i * size, dy, a.x + i * size, size, c.set, c.gamma, c.means, streamed);
        } else {  // whatever x is: 0 times infinity is no 0
          write_all(a.dx + i * size, size, streamed,
                    [=, scale = c.gamma * c.set.rstd](std::int64_t k)
                        EK_INLINE_LAMBDA { return scale * dy[k]; });
        }
      });
}

}  // namespace

template <typename T>
void batch_norm_forward(const NormForwardArgs<T>& a) {
  forward_by_channels(a, a.N, a.S, [&](std::int64_t i) { return plane_moments(a.x + i * a.S, a.S); });
}

template <typename T>
void batch_norm_backward(const NormBackwardArgs<T>& a) {
  backward_by_channels(a, a.N, a.S, [&](std::int64_t i) {
    return plane_gradient_sums(a.dy + i * a.S, a.x + i * a.S, a.S, a.mean[i % a.C]);
  });
}

template void batch_norm_forward(const NormForwardArgs<float>&);
template void batch_norm_forward(const NormForwardArgs<double>&);
template void batch_norm_backward(const NormBackwardArgs<float>&);
template void batch_norm_backward(const NormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
