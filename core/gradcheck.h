// Checks the gradient of any function of tensors against central differences.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "evenkeel/core/tensor.h"

namespace evenkeel {

struct GradcheckOptions {
  double eps = 1e-6;   ///< step of the central difference
  double atol = 1e-6;  ///< an element passes if |analytic - numerical| <= atol + rtol * |numerical|
  double rtol = 1e-4;
  std::uint64_t seed = 1;  ///< of the random weights dy
  int max_elements = 0;    ///< check at most this many random elements of each input; 0: all
};

struct GradcheckResult {
  bool ok = true;
  double worst = 0;     ///< largest |analytic - numerical| seen
  std::string message;  ///< where the first failure is, and both values
  explicit operator bool() const { return ok; }
};

/// Compares the gradient of sum(fn(inputs) * dy), dy random, with (f(x+eps) - f(x-eps)) / 2eps for every
/// element of every input that requires a gradient. An output that does not depend on an input has gradient 0
/// there. NaN never passes. The result is not ok if backward throws, gives a leaf a gradient of another
/// shape, dtype or device, or if fn or its backward differs between two calls, or fn under NoGrad. What the
/// inputs have collected as gradients stays as it is. Throws Error unless at least
/// one input requires a gradient, those that do are dense f64 leaves, and fn returns a defined f64 tensor.
GradcheckResult gradcheck(const std::function<Tensor(const std::vector<Tensor>&)>& fn,
                          const std::vector<Tensor>& inputs, GradcheckOptions options = {});

}  // namespace evenkeel
