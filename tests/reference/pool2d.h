// Max and average pooling of x [N, C, H, W].
#pragma once

#include "reference/array.h"

namespace reference {

struct Pool2d {
  Index R, S, stride_h, stride_w, pad_h = 0, pad_w = 0;
};

Array max_pool2d(const Array& x, const Pool2d& how);
/// The first of equal maxima gets the gradient; NaN is larger than every number, and the last NaN gets it.
Array max_pool2d_backward(const Array& dy, const Array& x, const Pool2d& how);

/// Padding counts as zeros.
Array avg_pool2d(const Array& x, const Pool2d& how);
Array avg_pool2d_backward(const Array& dy, const Array& x, const Pool2d& how);

}  // namespace reference
