#include "kernels/batch_norm.h"

#include "kernels/cpu/batch_norm_common.h"
#include "kernels/cpu/lanes/ops.h"
#include "kernels/cpu/parallel.h"

namespace evenkeel::cpu::EK_ISA {

template <typename T>
void batch_norm_forward(const BatchNormForwardArgs<T>& a) {
  if (a.format == MemoryFormat::lanes) return lanes::batch_norm_forward(a);
  BatchScratch& scratch = batch_scratch();
  if (a.training) {
    Moments* planes = scratch.parts.get<Moments>(a.N * a.C);
    parallel_for(a.N * a.C, 3 * a.S, [&](std::int64_t i) { planes[i] = plane_moments(a.x + i * a.S, a.S); });
  }
  const bool streamed = is_streamed<T>(a.N * a.C * a.S);
  const Normalizer<T>* channels = channel_statistics(a, scratch, a.N);
  parallel_for(a.N * a.C, 2 * a.S, [&](std::int64_t task) {
    const std::int64_t i = a.N * a.C - 1 - task;  // backwards: what was read last is still in a cache
    const Normalizer<T>& c = channels[i % a.C];
    scale_plane(a.y + i * a.S, a.x + i * a.S, a.S, c.mean, c.scale, c.shift, streamed);
  });
}

template <typename T>
void batch_norm_backward(const BatchNormBackwardArgs<T>& a) {
  if (a.format == MemoryFormat::lanes) return lanes::batch_norm_backward(a);
  BatchScratch& scratch = batch_scratch();
  GradientSums* planes = scratch.parts.get<GradientSums>(a.N * a.C);
  parallel_for(a.N * a.C, 3 * a.S, [&](std::int64_t i) {
    planes[i] = plane_gradient_sums(a.dy + i * a.S, a.x + i * a.S, a.S, a.mean[i % a.C]);
  });
  const GradientMap<T>* channels = channel_gradients(a, scratch, a.N);
  if (a.dx == nullptr) return;
  const bool streamed = is_streamed<T>(a.N * a.C * a.S);
  parallel_for(a.N * a.C, 3 * a.S, [&](std::int64_t task) {
    const std::int64_t i = a.N * a.C - 1 - task;
    const GradientMap<T>& c = channels[i % a.C];
    gradient_plane(a.dx + i * a.S, a.dy + i * a.S, a.x + i * a.S, a.S, c.mean, c.scale, c.along_xhat,
                   c.offset, streamed);
  });
}

template void batch_norm_forward(const BatchNormForwardArgs<float>&);
template void batch_norm_forward(const BatchNormForwardArgs<double>&);
template void batch_norm_backward(const BatchNormBackwardArgs<float>&);
template void batch_norm_backward(const BatchNormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
