// The windows of a pooling, for both memory formats.
#pragma once

#include <algorithm>

#include "evenkeel/kernels/cpu/simd.h"
#include "evenkeel/kernels/pool2d.h"

namespace evenkeel::cpu::EK_ISA {

/// The part of the window of output (p, q) that lies inside the plane: rows [h0, h1), columns [w0, w1).
struct Window {
  std::int64_t h0, h1, w0, w1;
  EK_INLINE Window(const Pool2dSizes& s, std::int64_t p, std::int64_t q)
      : h0(std::max<std::int64_t>(p * s.stride_h - s.pad_h, 0)),
        h1(std::min(p * s.stride_h - s.pad_h + s.R, s.H)),
        w0(std::max<std::int64_t>(q * s.stride_w - s.pad_w, 0)),
        w1(std::min(q * s.stride_w - s.pad_w + s.S, s.W)) {}
  /// The number of pixel (h, w) in this part, row by row.
  EK_INLINE std::int64_t tap(std::int64_t h, std::int64_t w) const { return (h - h0) * (w1 - w0) + (w - w0); }
};

/// The work of a plane, in element operations.
inline std::int64_t pooling_cost(const Pool2dSizes& s) {
  return s.P * s.Q * std::min(s.R, s.H) * std::min(s.S, s.W);
}

}  // namespace evenkeel::cpu::EK_ISA
