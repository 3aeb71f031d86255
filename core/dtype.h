// Element types, and the step from a run-time dtype to a compile-time type.
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>

#include "evenkeel/base/error.h"
#include "evenkeel/core/device.h"
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

/// Calls f.operator()<T>() with the type that `dtype` names, one of float and double. Errors name `op`, by
/// default the function that calls.
template <typename F>
decltype(auto) dispatch_floating(DType dtype, F&& f, const char* op = __builtin_FUNCTION()) {
  switch (dtype) {
    case DType::f32:
      return f.template operator()<float>();
    case DType::f64:
      return f.template operator()<double>();
    case DType::bf16:
    case DType::f16:
      fail("{}: computes in f32 and f64, not in {}; convert with to(DType::f32)", op, name_of(dtype));
    default:
      fail("{}: expected a floating-point tensor, got {}; convert it with to(DType::f32)", op,
           name_of(dtype));
  }
}

/// Throws Error unless tensors of `dtype` can be computed on: those of 16 bits on CUDA devices only.
inline void check_storage(const char* op, DType dtype, Device device) {
  EK_CHECK(!is_16bit(dtype) || device.is_cuda(),
           "{}: {} is computed on CUDA devices only; convert with to(DType::f32)", op, name_of(dtype));
}

/// Likewise for ops whose CUDA kernels also take 16-bit tensors, computing in Arithmetic<T>: one of float,
/// double, bf16 and f16. To be used with EK_DISPATCH_STORAGE.
template <typename F>
decltype(auto) dispatch_storage(DType dtype, Device device, F&& f, const char* op = __builtin_FUNCTION()) {
  check_storage(op, dtype, device);
  switch (dtype) {
    case DType::bf16:
      return f.template operator()<bf16>();
    case DType::f16:
      return f.template operator()<f16>();
    default:
      return dispatch_floating(dtype, std::forward<F>(f), op);
  }
}

/// Calls f.operator()<T>() with the type that `dtype` names, any of them.
template <typename F>
decltype(auto) dispatch_any(DType dtype, F&& f) {
  switch (dtype) {
    case DType::bf16:
      return f.template operator()<bf16>();
    case DType::f16:
      return f.template operator()<f16>();
    case DType::i64:
      return f.template operator()<std::int64_t>();
    case DType::u8:
      return f.template operator()<std::uint8_t>();
    default:
      return dispatch_floating(dtype, std::forward<F>(f));
  }
}

}  // namespace evenkeel

/// EK_DISPATCH within dispatch_storage: T of 16 bits has kernels on CUDA devices only.
#define EK_DISPATCH_STORAGE(T, device_, function, ...)  \
  do {                                                  \
    if constexpr (::evenkeel::kIs16Bit<T>)              \
      EK_DISPATCH_CUDA(device_, function, __VA_ARGS__); \
    else                                                \
      EK_DISPATCH(device_, function, __VA_ARGS__);      \
  } while (false)
