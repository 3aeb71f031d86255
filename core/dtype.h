// Element types.
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>

#include "evenkeel/base/error.h"
#include "evenkeel/kernels/half.h"

namespace evenkeel {

/// f32 and f64 hold numbers that are computed with; bf16 and f16 hold activations in half the memory, which
/// kernels compute on in f32; i64 holds labels and indices; u8 holds images.
enum class DType : std::uint8_t { f32, f64, bf16, f16, i64, u8 };

template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<f16> {
  static constexpr DType value = DType::f16;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::u8;
};

template <typename T>
inline constexpr DType kDTypeOf = DTypeOf<T>::value;
/// True for the types that only store.
template <typename T>
inline constexpr bool kIs16Bit = !std::is_same_v<T, Arithmetic<T>>;

constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::bf16:
      return "bf16";
    case DType::f16:
      return "f16";
    case DType::i64:
      return "i64";
    case DType::u8:
      return "u8";
  }
  return "?";
}

constexpr std::int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return 4;
    case DType::bf16:
    case DType::f16:
      return 2;
    case DType::u8:
      return 1;
    default:
      return 8;
  }
}

constexpr bool is_16bit(DType dtype) { return dtype == DType::bf16 || dtype == DType::f16; }
constexpr bool is_floating(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f64 || is_16bit(dtype);
}
/// Arithmetic<T>: the dtype of the parameters and statistics that go with tensors of `dtype`.
constexpr DType arithmetic_of(DType dtype) { return is_16bit(dtype) ? DType::f32 : dtype; }

}  // namespace evenkeel
