#include "kernels/batch_norm.h"

#include <algorithm>

#include "kernels/cpu/batch_norm_common.h"
#include "kernels/cpu/lanes/ops.h"
#include "kernels/cpu/lanes/statistics.h"
#include "kernels/cpu/parallel.h"

namespace evenkeel::cpu::EK_ISA::lanes {
namespace {

// A plane here is one of vectors: S pixels of the images of a block.

/// moments() of norm_common.h, over the first `count` images.
template <typename T>
Moments plane_moments(const T* x, std::int64_t S, std::int64_t count) {
  const double n = static_cast<double>(S * count);
  LaneTotals<T> sums, rests, squares;
  for (int part = 0; part < kParts; ++part) {
    Doubles<T> sum;
    for (std::int64_t s = 0; s < S; ++s) sum += Doubles<T>(column(x, part)[s]);
    sums.set(part, sum);
  }
  const double mean = sums.sum(count) / n;
  for (int part = 0; part < kParts; ++part) {
    Doubles<T> rest, square;
    for (std::int64_t s = 0; s < S; ++s) {
      const Doubles<T> d = Doubles<T>(column(x, part)[s]) - Doubles<T>(mean);
      rest += d;
      square += d * d;
    }
    rests.set(part, rest);
    squares.set(part, square);
  }
  const double rest = rests.sum(count);
  return {n, mean + rest / n, squares.sum(count) - rest * rest / n};
}

template <typename T>
GradientSums plane_gradient_sums(const T* dy, const T* x, std::int64_t S, T mean, std::int64_t count) {
  LaneTotals<T> sum_dy, sum_dy_x, sum_x;
  for (int part = 0; part < kParts; ++part) {
    LaneGradientSums<T> sums;
    for (std::int64_t s = 0; s < S; ++s) sums.add(column(dy, part)[s], column(x, part)[s] - mean);
    sum_dy.set(part, sums.dy);
    sum_dy_x.set(part, sums.dy_x);
    sum_x.set(part, sums.x);
  }
  return {sum_dy.sum(count), sum_dy_x.sum(count), sum_x.sum(count)};
}

}  // namespace

template <typename T>
void batch_norm_forward(const BatchNormForwardArgs<T>& a) {
  const std::int64_t planes = lane_blocks<T>(a.N) * a.C, size = a.S * kLanes<T>;
  BatchScratch& scratch = batch_scratch();
  if (a.training) {
    Moments* moments = scratch.parts.get<Moments>(planes);
    parallel_for(planes, 3 * size, [&](std::int64_t i) {
      moments[i] = plane_moments<T>(a.x + i * size, a.S, images_of_block<T>(a.N, i / a.C));
    });
  }
  const bool streamed = is_streamed<T>(planes * size);
  const Normalizer<T>* channels = channel_statistics(a, scratch, planes / a.C);
  parallel_for(planes, 2 * size, [&](std::int64_t task) {
    const std::int64_t i = planes - 1 - task;  // backwards: what was read last is still in a cache
    const Normalizer<T>& c = channels[i % a.C];
    scale_plane(a.y + i * size, a.x + i * size, size, c.mean, c.scale, c.shift, streamed);
  });
}

template <typename T>
void batch_norm_backward(const BatchNormBackwardArgs<T>& a) {
  const std::int64_t planes = lane_blocks<T>(a.N) * a.C, size = a.S * kLanes<T>;
  BatchScratch& scratch = batch_scratch();
  GradientSums* sums = scratch.parts.get<GradientSums>(planes);
  parallel_for(planes, 3 * size, [&](std::int64_t i) {
    sums[i] = plane_gradient_sums<T>(a.dy + i * size, a.x + i * size, a.S, a.mean[i % a.C],
                                     images_of_block<T>(a.N, i / a.C));
  });
  const GradientMap<T>* channels = channel_gradients(a, scratch, planes / a.C);
  if (a.dx == nullptr) return;
  const bool streamed = is_streamed<T>(planes * size);
  parallel_for(planes, 3 * size, [&](std::int64_t task) {
    const std::int64_t i = planes - 1 - task;
    const GradientMap<T>& c = channels[i % a.C];
    gradient_plane(a.dx + i * size, a.dy + i * size, a.x + i * size, size, c.mean, c.scale, c.along_xhat,
                   c.offset, streamed);
  });
}

template void batch_norm_forward(const BatchNormForwardArgs<float>&);
template void batch_norm_forward(const BatchNormForwardArgs<double>&);
template void batch_norm_backward(const BatchNormBackwardArgs<float>&);
template void batch_norm_backward(const BatchNormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA::lanes
