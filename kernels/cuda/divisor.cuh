// Division by a number that the host knows and the compiler does not.
#pragma once

#include "evenkeel/kernels/cuda/simt.h"

namespace evenkeel::cuda {

/// Divides n >= 0 by `by` >= 1 with one multiplication, where n * by < 2^31: n / by is the whole part of
/// n * ceil(2^31 / by) / 2^31, as rounding up adds less than 1 / by (Granlund and Montgomery, PLDI 1994).
class Divisor {
 public:
  Divisor() = default;
  EK_HOST_DEVICE explicit Divisor(int by)
      : by_(by), inverse_((0x7fffffffu / static_cast<unsigned>(by)) + 1) {}

  __device__ __forceinline__ int quotient(int n) const {
    return static_cast<int>(static_cast<std::uint64_t>(static_cast<unsigned>(n)) * inverse_ >> 31);
  }
  /// Replaces n by its quotient and returns the remainder: takes the last index off a flat one.
  __device__ __forceinline__ int take_remainder(int& n) const {
    const int whole = quotient(n), rest = n - whole * by_;
    n = whole;
    return rest;
  }

 private:
  int by_ = 1;
  unsigned inverse_ = 0x80000000u;
};

}  // namespace evenkeel::cuda
