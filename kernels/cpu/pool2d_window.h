// The windows of a pooling, for both memory formats.
#pragma once

#include <algorithm>

#include "kernels/cpu/simd.h"
#include "kernels/pool2d.h"

namespace evenkeel::cpu::EK_ISA {

/// The part of the window of output (p, q) that lies inside the plane: rows [h0, h1), columns [w0, w1).
struct Window {
  std::int64_t top, left, width;
  std::int64_t h0, h1, w0, w1;
  EK_INLINE Window(const Pool2dSizes& s, std::int64_t p, std::int64_t q)
      : top(p * s.stride_h - s.pad_h),
        left(q * s.stride_w - s.pad_w),
        width(s.S),
        h0(std::max<std::int64_t>(top, 0)),
        h1(std::min(top + s.R, s.H)),
        w0(std::max<std::int64_t>(left, 0)),
        w1(std::min(left + s.S, s.W)) {}
  /// The number r*S + s of pixel (h, w) in the window.
  EK_INLINE std::int64_t tap(std::int64_t h, std::int64_t w) const { return (h - top) * width + (w - left); }
};

}  // namespace evenkeel::cpu::EK_ISA
