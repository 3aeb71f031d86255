// Element types, and the step from a run-time dtype to a compile-time type.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/error.h"

namespace evenkeel {

/// f32 and f64 hold numbers that are computed with; i64 holds labels and indices; u8 holds images.
enum class DType : std::uint8_t { f32, f64, i64, u8 };

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
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::u8;
};

template <typename T>
inline constexpr DType kDTypeOf = DTypeOf<T>::value;

constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
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
    case DType::u8:
      return 1;
    default:
      return 8;
  }
}

constexpr bool is_floating(DType dtype) { return dtype == DType::f32 || dtype == DType::f64; }

/// Calls f.operator()<T>() with the type that `dtype` names, one of float and double.
template <typename F>
decltype(auto) dispatch_floating(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f.template operator()<float>();
    case DType::f64:
      return f.template operator()<double>();
    default:
      fail("expected a floating-point tensor, got {}; convert it with to(DType::f32)", name_of(dtype));
  }
}

/// Calls f.operator()<T>() with the type that `dtype` names, any of them.
template <typename F>
decltype(auto) dispatch_any(DType dtype, F&& f) {
  switch (dtype) {
    case DType::i64:
      return f.template operator()<std::int64_t>();
    case DType::u8:
      return f.template operator()<std::uint8_t>();
    default:
      return dispatch_floating(dtype, std::forward<F>(f));
  }
}

}  // namespace evenkeel
