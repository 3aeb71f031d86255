#include <algorithm>

#include "evenkeel/kernels/conv2d.h"
#include "evenkeel/kernels/cpu/simd.h"

namespace evenkeel::cpu {
namespace {

/// How many elements the padded copies have, at least, from which the products read: as many rows as a filter
/// spans, and for a stride one plane of at least 64 bytes for each place that it skips. Mostly zeros where
/// the padding, dilation or stride is larger than the image; direct convolution visits no zeros.
double elements_of_copy(const Conv2dSizes& s) {
  const double rows = static_cast<double>(s.dilation_h) * static_cast<double>(s.R - 1) + 1,
               cols = static_cast<double>(s.W) + 2 * static_cast<double>(s.pad_w),
               skipped = static_cast<double>(s.stride_h) * static_cast<double>(s.stride_w);
  return static_cast<double>(s.C) * std::max(rows * cols, 16 * skipped);
}

}  // namespace

template <typename T>
bool conv2d_is_direct(const Conv2dSizes& s) {
  const std::int64_t lanes = (s.N + kLanes<T> - 1) / kLanes<T> * kLanes<T>, pixels = s.P * s.Q;
  const bool large = s.C * s.H * s.W + s.K * pixels > (8 << 20) / 64;  // 64 bytes each for all lanes
  const bool few_filters = s.K / s.groups < 4;
  const bool products = (pixels >= 32 && (large || 2 * s.N <= lanes)) || 8 * s.N <= lanes;
  return !products || few_filters || elements_of_copy(s) > 0x1p24;
}

template bool conv2d_is_direct<float>(const Conv2dSizes&);
template bool conv2d_is_direct<double>(const Conv2dSizes&);

}  // namespace evenkeel::cpu
