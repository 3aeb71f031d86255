#include "kernels/conv2d.h"
#include "kernels/lanes.h"

namespace evenkeel::cpu {

template <typename T>
MemoryFormat conv2d_format(const Conv2dSizes& s) {
  const std::int64_t lanes = lane_blocks<T>(s.N) * kLanes<T>, pixels = s.P * s.Q;
  const bool large = s.C * s.H * s.W + s.K * pixels > (8 << 20) / 64;  // 64 bytes each in a block
  const bool empty = s.N * s.C * s.H * s.W == 0;
  const bool few_filters = s.K / s.groups < 4;
  const bool products = (pixels >= 32 && (large || 2 * s.N <= lanes)) || 8 * s.N <= lanes;
  return empty || (products && !few_filters) ? MemoryFormat::strided : MemoryFormat::lanes;
}

template MemoryFormat conv2d_format<float>(const Conv2dSizes&);
template MemoryFormat conv2d_format<double>(const Conv2dSizes&);

}  // namespace evenkeel::cpu
