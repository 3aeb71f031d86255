// The ops whose definition is a line: linear, ReLU, dropout, log-softmax, negative log-likelihood.
#pragma once

#include "reference/array.h"

namespace reference {

/// x [M, in], weight [out, in], bias [out] -> [M, out].
Array linear(const Array& x, const Array& weight, const Array& bias);
struct LinearGradients {
  Array dx, dweight, dbias;
};
LinearGradients linear_backward(const Array& dy, const Array& x, const Array& weight);

Array relu(const Array& x);
/// The gradient at 0 is 0.
Array relu_backward(const Array& dy, const Array& x);

/// x mask / (1 - p), mask of zeros and ones. Backward is the same map.
Array dropout(const Array& x, const Array& mask, double p);

/// x [M, D], along D.
Array log_softmax(const Array& x);
/// The sum over outputs of dy_j d(y_j)/d(x_i), d(y_j)/d(x_i) = [i = j] - softmax_i.
Array log_softmax_backward(const Array& dy, const Array& x);

/// x [M, D] -> -x[m, target[m]], [M].
Array nll(const Array& x, const std::vector<Index>& target);
Array nll_backward(const Array& dloss, const Array& x, const std::vector<Index>& target);

}  // namespace reference
