// Fills memory with random numbers.
#pragma once

#include <cmath>

#include "evenkeel/kernels/common.h"
#include "evenkeel/kernels/philox.h"

namespace evenkeel {

/// y[i] = a + (b - a) * u_i, below b, for uniform; a + b * z_i for normal; u_i, z_i are number i of `key`.
template <typename T>
struct RandomArgs {
  T* y;
  RandomKey key;
  double a, b;
  std::int64_t n;
};
namespace cpu {
template <typename T>
void uniform(const RandomArgs<T>& args);
template <typename T>
void normal(const RandomArgs<T>& args);
}  // namespace cpu
namespace cuda {
template <typename T>
void uniform(const RandomArgs<T>& args, Stream stream);
template <typename T>
void normal(const RandomArgs<T>& args, Stream stream);
}  // namespace cuda

/// The interval [low, high) in T.
template <typename T>
struct UniformInterval {
  T low, range, last;
  UniformInterval(double a, double b)
      : low(static_cast<T>(a)),
        range(static_cast<T>(b - a)),
        last(std::nextafter(static_cast<T>(b), static_cast<T>(a))) {}
  /// u in [0, 1). Rounding may reach `high`, which is not in the interval: then the number below it.
  EK_HOST_DEVICE T at(float u) const {
    const T y = std::fma(range, static_cast<T>(u), low);
    return y < last ? y : last;
  }
};

}  // namespace evenkeel
