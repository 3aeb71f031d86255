#include <algorithm>

#include "evenkeel/kernels/conv2d.h"
#include "evenkeel/kernels/lanes.h"

namespace evenkeel::cpu {
namespace {

/// How many elements the padded copies have, at least, from which the products read: as many rows as a filter
/// spans, and for a stride one plane of at least 64 bytes for each place that it skips. Mostly zeros where
/// the padding, dilation or stride is larger than the image; the kernels for lanes visit no zeros.
double elements_of_copy(const Conv2dSizes& s) {
  const double rows = static_cast<double>(s.dilation_h) * static_cast<double>(s.R - 1) + 1,
               cols = static_cast<double>(s.W) + 2 * static_cast<double>(s.pad_w),
               skipped = static_cast<double>(s.stride_h) * static_cast<double>(s.stride_w);
  return static_cast<double>(s.C) * std::max(rows * cols, 16 * skipped);
}

}  // namespace

template <typename T>
MemoryFormat conv2d_format(const Conv2dSizes& s) {
  const std::int64_t lanes = lane_blocks<T>(s.N) * kLanes<T>, pixels = s.P * s.Q;
  const bool large = s.C * s.H * s.W + s.K * pixels > (8 << 20) / 64;  // 64 bytes each in a block
  const bool few_filters = s.K / s.groups < 4;
  const bool products = (pixels >= 32 && (large || 2 * s.N <= lanes)) || 8 * s.N <= lanes;
  return products && !few_filters && elements_of_copy(s) <= 0x1p24 ? MemoryFormat::strided
                                                                   : MemoryFormat::lanes;
}

template MemoryFormat conv2d_format<float>(const Conv2dSizes&);
template MemoryFormat conv2d_format<double>(const Conv2dSizes&);

}  // namespace evenkeel::cpu
