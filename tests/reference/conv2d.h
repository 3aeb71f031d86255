// 2-D convolution as the sum of products that defines it.
#pragma once

#include "reference/array.h"

namespace reference {

struct Conv2d {
  Index stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1, groups = 1;
};

/// x [N, C, H, W], weight [K, C/groups, R, S], bias [K] -> y [N, K, P, Q].
Array conv2d(const Array& x, const Array& weight, const Array& bias, const Conv2d& how);

struct Conv2dGradients {
  Array dx, dweight, dbias;
};
Conv2dGradients conv2d_backward(const Array& dy, const Array& x, const Array& weight, const Conv2d& how);

}  // namespace reference
