// Fills memory with random numbers.
#pragma once

#include "kernels/common.h"
#include "kernels/philox.h"

namespace evenkeel {

/// y[i] = a + (b - a) * u_i, below b, for uniform; a + b * z_i for normal; u_i, z_i are number i of `key`.
template <typename T>
struct RandomArgs {
  T* y;
  RandomKey key;
  double a, b;
  std::int64_t n;
};
EK_DECLARE_KERNEL(uniform, RandomArgs)
EK_DECLARE_KERNEL(normal, RandomArgs)

}  // namespace evenkeel
