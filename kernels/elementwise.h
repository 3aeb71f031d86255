// y = f(a, b) with broadcasting, y = f(x), and strided copies that convert.
#pragma once

#include <cstdint>
#include <type_traits>

#include "evenkeel/kernels/half.h"

namespace evenkeel {

/// y[i] = f(a[i], b[i]) for every index i of `shape`; y is dense, strides of 0 repeat an input.
template <typename T>
struct BinaryArgs {
  T* y;
  const T* a;
  const T* b;
  Extents shape, a_strides, b_strides;
};
namespace cpu {
// add on CUDA devices also of bf16 and f16; equal, which is 1 or 0, also of i64.
template <typename T>
void add(const BinaryArgs<T>& args);
template <typename T>
void sub(const BinaryArgs<T>& args);
template <typename T>
void mul(const BinaryArgs<T>& args);
template <typename T>
void div(const BinaryArgs<T>& args);
template <typename T>
void equal(const BinaryArgs<T>& args);
}  // namespace cpu
namespace cuda {
template <typename T>
void add(const BinaryArgs<T>& args, Stream stream);
template <typename T>
void sub(const BinaryArgs<T>& args, Stream stream);
template <typename T>
void mul(const BinaryArgs<T>& args, Stream stream);
template <typename T>
void div(const BinaryArgs<T>& args, Stream stream);
template <typename T>
void equal(const BinaryArgs<T>& args, Stream stream);
}  // namespace cuda

/// y[i] = f(x[i]), both dense, n elements.
template <typename T>
struct UnaryArgs {
  T* y;
  const T* x;
  std::int64_t n;
};
namespace cpu {
template <typename T>
void exp(const UnaryArgs<T>& args);
template <typename T>
void log(const UnaryArgs<T>& args);
template <typename T>
void sqrt(const UnaryArgs<T>& args);
template <typename T>
void abs(const UnaryArgs<T>& args);
template <typename T>
void sign(const UnaryArgs<T>& args);
}  // namespace cpu
namespace cuda {
template <typename T>
void exp(const UnaryArgs<T>& args, Stream stream);
template <typename T>
void log(const UnaryArgs<T>& args, Stream stream);
template <typename T>
void sqrt(const UnaryArgs<T>& args, Stream stream);
template <typename T>
void abs(const UnaryArgs<T>& args, Stream stream);
template <typename T>
void sign(const UnaryArgs<T>& args, Stream stream);
}  // namespace cuda

/// To(x). Integers are truncated, by way of i64, so that u8 is modulo 256, as in PyTorch. What i64 does not
/// hold, NaN too, is its least number: 0 as a u8.
template <typename To, typename From>
EK_HOST_DEVICE inline To converted(From x) {
  if constexpr (std::is_integral_v<To> && !std::is_integral_v<From>) {
    const auto number = static_cast<Arithmetic<From>>(x);
    const bool fits = number >= -0x1p63F && number < 0x1p63F;
    return static_cast<To>(fits ? static_cast<std::int64_t>(number) : INT64_MIN);
  } else {
    return static_cast<To>(x);
  }
}

/// y[i] = converted<To>(x[i]) for every index i of `shape`.
template <typename To, typename From>
struct CopyArgs {
  To* y;
  const From* x;
  Extents shape, y_strides, x_strides;
};
namespace cpu {
template <typename To, typename From>
void copy(const CopyArgs<To, From>& args);
}
namespace cuda {
template <typename To, typename From>
void copy(const CopyArgs<To, From>& args, Stream stream);
}

/// y[i] = value for every index i of `shape`.
template <typename T>
struct FillArgs {
  T* y;
  double value;
  Extents shape, strides;
};
namespace cpu {
template <typename T>
void fill(const FillArgs<T>& args);
}
namespace cuda {
template <typename T>
void fill(const FillArgs<T>& args, Stream stream);
}

/// y[i] += alpha * x[i], both dense, n elements; in Arithmetic<T>, rounded once.
template <typename T>
struct AxpyArgs {
  T* y;
  const T* x;
  double alpha;
  std::int64_t n;
};
namespace cpu {
template <typename T>
void axpy(const AxpyArgs<T>& args);
}
namespace cuda {
template <typename T>
void axpy(const AxpyArgs<T>& args, Stream stream);
}

}  // namespace evenkeel
