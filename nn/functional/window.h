// The windows of convolutions and poolings along one axis.
#pragma once

#include <algorithm>

#include "evenkeel/base/checked.h"

namespace evenkeel::functional {

/// One axis of `in` elements, padded on both sides, and windows on it of `taps` taps, `dilation` apart, at
/// least one of each.
struct WindowAxis {
  std::int64_t in, taps, dilation, pad, stride;
};

/// How many windows there are: (in + 2 pad - dilation (taps - 1) - 1) / stride + 1, or 0 if not even one
/// fits. Throws Error, naming `op`, on sizes that 64 bits do not hold. A stride past the end is shortened,
/// which changes nothing and keeps the products of kernels small.
inline std::int64_t count_windows(const char* op, WindowAxis& a) {
  const std::int64_t room = checked_sum(
      op, {a.in, checked_product(op, {2, a.pad}), -checked_product(op, {a.dilation, a.taps - 1}), -1});
  if (room < 0) return 0;
  a.stride = std::min(a.stride, room + 1);
  return room / a.stride + 1;
}

}  // namespace evenkeel::functional
