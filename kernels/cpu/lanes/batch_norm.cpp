#include "evenkeel/kernels/norm.h"

#include <algorithm>

#include "evenkeel/kernels/cpu/batch_norm_common.h"
#include "evenkeel/kernels/cpu/lanes/ops.h"
#include "evenkeel/kernels/cpu/lanes/statistics.h"

namespace evenkeel::cpu::EK_ISA::lanes {
namespace {

// A plane here is one of vectors: S pixels of the images of a block.

/// moments() of norm_common.h, over the first `count` images.
template <typename T>
Moments plane_moments(const T* x, std::int64_t S, std::int64_t count) {
  const double first = pivot_at(x[0]);
  const Doubles<T> pivot(first);
  LaneTotals<T> sums, squares;
  for (int part = 0; part < kParts; ++part) {
    Doubles<T> sum, square;
    for (std::int64_t s = 0; s < S; ++s) {
      const Doubles<T> d = Doubles<T>(column(x, part)[s]) - pivot;
      sum += d;
      square += d * d;
    }
    sums.set(part, sum);
    squares.set(part, square);
  }
  return shifted_moments(static_cast<double>(S * count), first, sums.sum(count), squares.sum(count));
}

template <typename T>
GradientSums<double> plane_gradient_sums(const T* dy, const T* x, std::int64_t S, T mean,
                                         std::int64_t count) {
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
void batch_norm_forward(const NormForwardArgs<T>& a) {
  const std::int64_t size = a.S * kLanes<T>;
  forward_by_channels(a, lane_blocks<T>(a.N), size, [&](std::int64_t i) {
    return plane_moments<T>(a.x + i * size, a.S, images_of_block<T>(a.N, i / a.C));
  });
}

template <typename T>
void batch_norm_backward(const NormBackwardArgs<T>& a) {
  const std::int64_t size = a.S * kLanes<T>;
  backward_by_channels(a, lane_blocks<T>(a.N), size, [&](std::int64_t i) {
    return plane_gradient_sums<T>(a.dy + i * size, a.x + i * size, a.S, a.mean[i % a.C],
                                  images_of_block<T>(a.N, i / a.C));
  });
}

template void batch_norm_forward(const NormForwardArgs<float>&);
template void batch_norm_forward(const NormForwardArgs<double>&);
template void batch_norm_backward(const NormBackwardArgs<float>&);
template void batch_norm_backward(const NormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA::lanes
