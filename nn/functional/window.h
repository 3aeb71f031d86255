// The windows of convolutions and poolings along one axis.
#pragma once

#include <algorithm>

#include "evenkeel/base/checked.h"
#include "evenkeel/kernels/conv2d.h"
#include "evenkeel/nn/functional.h"

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

/// True if strides and dilations are at least 1, paddings at least 0 and there are groups.
inline bool is_possible(const ConvOptions& o) {
  return o.stride.h >= 1 && o.stride.w >= 1 && o.dilation.h >= 1 && o.dilation.w >= 1 && o.padding.h >= 0 &&
         o.padding.w >= 0 && o.groups >= 1;
}

/// The sizes of a convolution of x [N, C, H, W] with `weight` [K, C/groups, R, S] and possible options; P and
/// Q are 0 where the filters are larger than the padded planes.
inline Conv2dSizes conv2d_sizes(const Shape& x, const Shape& weight, const ConvOptions& o) {
  WindowAxis h{x[2], weight[2], o.dilation.h, o.padding.h, o.stride.h};
  WindowAxis w{x[3], weight[3], o.dilation.w, o.padding.w, o.stride.w};
  const std::int64_t P = count_windows("conv2d", h), Q = count_windows("conv2d", w);
  return {.N = x[0],
          .C = x[1],
          .H = h.in,
          .W = w.in,
          .K = weight[0],
          .R = h.taps,
          .S = w.taps,
          .P = P,
          .Q = Q,
          .stride_h = h.stride,
          .stride_w = w.stride,
          .pad_h = h.pad,
          .pad_w = w.pad,
          .dilation_h = h.dilation,
          .dilation_w = w.dilation,
          .groups = o.groups};
}

}  // namespace evenkeel::functional
