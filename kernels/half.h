// The 16-bit floating-point types: storage only. Kernels load them, compute in f32, and round once when they
// store; statistics, parameters and the gradients of parameters of such tensors are f32.
#pragma once

#include <bit>
#include <cstdint>

#include "evenkeel/kernels/common.h"

#ifdef __CUDACC__
#  include <cuda_bf16.h>
#  include <cuda_fp16.h>
#endif

namespace evenkeel {

/// bfloat16: the upper half of an f32, 8 exponent and 7 mantissa bits. Rounds to nearest, ties to even.
struct bf16 {
  std::uint16_t bits;

  bf16() = default;
  EK_HOST_DEVICE explicit bf16(float value) : bits(rounded(value)) {}
  EK_HOST_DEVICE operator float() const {
#ifdef __CUDA_ARCH__
    return __bfloat162float(__ushort_as_bfloat16(bits));
#else
    return std::bit_cast<float>(std::uint32_t{bits} << 16);
#endif
  }

 private:
  EK_HOST_DEVICE static std::uint16_t rounded(float value) {
#ifdef __CUDA_ARCH__
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
    const auto u = std::bit_cast<std::uint32_t>(value);
    if (!(value == value)) return static_cast<std::uint16_t>(u >> 16 | 0x40u);  // a NaN stays one
    return static_cast<std::uint16_t>((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
#endif
  }
};

// Clang 14 has no _Float16 on x86-64, GCC 12 has it in C++ there only.
#if (defined(__clang__) && __clang_major__ < 15 && defined(__x86_64__)) || \
    (!defined(__clang__) && __GNUC__ < 13 && !defined(__x86_64__))
inline float f16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t{bits} << 16 & 0x80000000u, magnitude = bits & 0x7fffu;
  if (magnitude < 0x400u) {  // a multiple of 2^-24, the least that there is
    const float value = static_cast<float>(magnitude) * 0x1p-24F;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | sign);
  }
  const std::uint32_t fraction = magnitude << 13;
  if (magnitude < 0x7c00u) return std::bit_cast<float>(sign | (fraction + (112u << 23)));
  return std::bit_cast<float>(sign | fraction | 0x7f800000u | (magnitude > 0x7c00u ? 0x400000u : 0u));
}
inline std::uint16_t float_to_f16(float value) {
  const auto u = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = u >> 16 & 0x8000u, magnitude = u & 0x7fffffffu;
  std::uint32_t result = 0;
  if (magnitude > 0x7f800000u) {
    result = 0x7e00u | (magnitude >> 13 & 0x3ffu);  // a NaN stays one
  } else if (magnitude >= 0x47800000u) {
    result = 0x7c00u;  // 65536 and above are infinite
  } else if (magnitude >= 0x38800000u) {
    result = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  } else {  // below 2^-14: the sum has the spacing of subnormal numbers, 2^-24, in its last bit
    result = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3f000000u;
  }
  return static_cast<std::uint16_t>(sign | result);
}
#else
inline float f16_to_float(std::uint16_t bits) { return static_cast<float>(std::bit_cast<_Float16>(bits)); }
inline std::uint16_t float_to_f16(float value) {
  return std::bit_cast<std::uint16_t>(static_cast<_Float16>(value));
}
#endif

/// IEEE binary16: 5 exponent and 10 mantissa bits, at most 65504. Rounds to nearest, ties to even.
struct f16 {
  std::uint16_t bits;

  f16() = default;
  EK_HOST_DEVICE explicit f16(float value) : bits(rounded(value)) {}
  EK_HOST_DEVICE operator float() const {
#ifdef __CUDA_ARCH__
    return __half2float(__ushort_as_half(bits));
#else
    return f16_to_float(bits);
#endif
  }

 private:
  EK_HOST_DEVICE static std::uint16_t rounded(float value) {
#ifdef __CUDA_ARCH__
    return __half_as_ushort(__float2half_rn(value));
#else
    return float_to_f16(value);
#endif
  }
};

template <typename T>
struct ArithmeticOf {
  using type = T;
};
template <>
struct ArithmeticOf<bf16> {
  using type = float;
};
template <>
struct ArithmeticOf<f16> {
  using type = float;
};
/// What values of T are computed in, and the type of the statistics and parameters that go with tensors of T.
template <typename T>
using Arithmetic = typename ArithmeticOf<T>::type;

}  // namespace evenkeel
