#include "kernels/batch_norm.h"

#include <algorithm>

#include "kernels/cpu/batch_norm_common.h"
#include "kernels/cpu/lanes/ops.h"
#include "kernels/cpu/lanes/statistics.h"
#include "kernels/cpu/parallel.h"

namespace evenkeel::cpu::lanes {
namespace {

// A plane here is one of vectors: S pixels of the images of a block.

/// moments() of norm_common.h, over the first `count` images.
template <typename T>
EK_SIMD Moments plane_moments(const Vec<T>* x, std::int64_t S, std::int64_t count) {
  const double n = static_cast<double>(S * count);
  Doubles<T> sum, rests, squares;
  for (std::int64_t s = 0; s < S; ++s) sum += Doubles<T>(x[s]);
  const double mean = sum.total(count) / n;
  for (std::int64_t s = 0; s < S; ++s) {
    const Doubles<T> d = Doubles<T>(x[s]) - Doubles<T>(mean);
    rests += d;
    squares += d * d;
  }
  const double rest = rests.total(count);
  return {n, mean + rest / n, squares.total(count) - rest * rest / n};
}

template <typename T>
EK_SIMD GradientSums plane_gradient_sums(const Vec<T>* dy, const Vec<T>* x, std::int64_t S, T mean,
                                         std::int64_t count) {
  LaneGradientSums<T> sums;
  for (std::int64_t s = 0; s < S; ++s) sums.add(dy[s], x[s] - mean);
  return {sums.dy.total(count), sums.dy_x.total(count), sums.x.total(count)};
}

}  // namespace

template <typename T>
void batch_norm_forward(const BatchNormForwardArgs<T>& a) {
  const std::int64_t planes = lane_blocks<T>(a.N) * a.C, size = a.S * kLanes<T>;
  BatchScratch& scratch = batch_scratch();
  if (a.training) {
    Moments* moments = scratch.moments(planes);
    parallel_for(planes, 3 * size, [&](std::int64_t i) {
      moments[i] = plane_moments<T>(as_lanes(a.x) + i * a.S, a.S, images_of_block<T>(a.N, i / a.C));
    });
  }
  const Normalizer<T>* channels = channel_statistics(a, scratch, planes / a.C);
  parallel_for(planes, 2 * size, [&](std::int64_t i) {
    const Normalizer<T>& c = channels[i % a.C];
    scale_plane(a.y + i * size, a.x + i * size, size, c.mean, c.scale, c.shift);
  });
}

template <typename T>
void batch_norm_backward(const BatchNormBackwardArgs<T>& a) {
  const std::int64_t planes = lane_blocks<T>(a.N) * a.C, size = a.S * kLanes<T>;
  BatchScratch& scratch = batch_scratch();
  GradientSums* sums = scratch.sums(planes);
  parallel_for(planes, 3 * size, [&](std::int64_t i) {
    sums[i] = plane_gradient_sums<T>(as_lanes(a.dy) + i * a.S, as_lanes(a.x) + i * a.S, a.S, a.mean[i % a.C],
                                     images_of_block<T>(a.N, i / a.C));
  });
  const GradientMap<T>* channels = channel_gradients(a, scratch, planes / a.C);
  if (a.dx == nullptr) return;
  parallel_for(planes, 3 * size, [&](std::int64_t i) {
    const GradientMap<T>& c = channels[i % a.C];
    gradient_plane(a.dx + i * size, a.dy + i * size, a.x + i * size, size, c.mean, c.scale, c.along_xhat,
                   c.offset);
  });
}

template void batch_norm_forward(const BatchNormForwardArgs<float>&);
template void batch_norm_forward(const BatchNormForwardArgs<double>&);
template void batch_norm_backward(const BatchNormBackwardArgs<float>&);
template void batch_norm_backward(const BatchNormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::lanes
