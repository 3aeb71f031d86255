#include "evenkeel/kernels/elementwise.h"

#include <cmath>

#include "evenkeel/kernels/cpu/strided.h"

namespace evenkeel::cpu {
namespace {

/// One run of y[i] = f(a[i * sa], b[i * sb]); the strides that matter are constants where the compiler can
/// use them.
template <typename T, typename F>
void binary_run(T* y, const T* a, std::int64_t sa, const T* b, std::int64_t sb, std::int64_t n, F f) {
  if (sa == 1 && sb == 1) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = f(a[i], b[i]);
  } else if (sa == 1 && sb == 0) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = f(a[i], *b);
  } else if (sa == 0 && sb == 1) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = f(*a, b[i]);
  } else {
    for (std::int64_t i = 0; i < n; ++i) y[i] = f(a[i * sa], b[i * sb]);
  }
}

template <typename T, typename F>
void binary(const BinaryArgs<T>& args, F f) {
  Extents shape = args.shape, sa = args.a_strides, sb = args.b_strides, sy = shape;
  std::int64_t stride = 1;
  for (int d = shape.rank - 1; d >= 0; stride *= shape.at[d--]) sy.at[d] = stride;
  coalesce(shape, sy, sa, sb);
  const int inner = shape.rank - 1;
  for_each_run(
      shape,
      [&](const auto& at, std::int64_t n) {
        binary_run(args.y + at[0], args.a + at[1], sa.at[inner], args.b + at[2], sb.at[inner], n, f);
      },
      sy, sa, sb);
}

template <typename T, typename F>
void unary(const UnaryArgs<T>& args, F f) {
  parallel_for_ranges(args.n, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) args.y[i] = f(args.x[i]);
  });
}

}  // namespace

template <typename T>
void add(const BinaryArgs<T>& args) {
  binary(args, [](T a, T b) { return a + b; });
}
template <typename T>
void sub(const BinaryArgs<T>& args) {
  binary(args, [](T a, T b) { return a - b; });
}
template <typename T>
void mul(const BinaryArgs<T>& args) {
  binary(args, [](T a, T b) { return a * b; });
}
template <typename T>
void div(const BinaryArgs<T>& args) {
  binary(args, [](T a, T b) { return a / b; });
}
template <typename T>
void equal(const BinaryArgs<T>& args) {
  binary(args, [](T a, T b) { return static_cast<T>(a == b); });
}

template <typename T>
void exp(const UnaryArgs<T>& args) {
  unary(args, [](T x) { return std::exp(x); });
}
template <typename T>
void log(const UnaryArgs<T>& args) {
  unary(args, [](T x) { return std::log(x); });
}
template <typename T>
void sqrt(const UnaryArgs<T>& args) {
  unary(args, [](T x) { return std::sqrt(x); });
}
template <typename T>
void abs(const UnaryArgs<T>& args) {
  unary(args, [](T x) { return std::abs(x); });
}
template <typename T>
void sign(const UnaryArgs<T>& args) {
  unary(args, [](T x) { return x > 0 ? T(1) : x < 0 ? T(-1) : x; });  // x: zero, or NaN
}

template <typename To, typename From>
void copy(const CopyArgs<To, From>& args) {
  Extents shape = args.shape, sy = args.y_strides, sx = args.x_strides;
  coalesce(shape, sy, sx);
  const std::int64_t step_y = sy.at[shape.rank - 1], step_x = sx.at[shape.rank - 1];
  for_each_run(
      shape,
      [&](const auto& at, std::int64_t n) {
        To* y = args.y + at[0];
        const From* x = args.x + at[1];
        if (step_y == 1 && step_x == 1) {
          for (std::int64_t i = 0; i < n; ++i) y[i] = converted<To>(x[i]);
        } else {
          for (std::int64_t i = 0; i < n; ++i) y[i * step_y] = converted<To>(x[i * step_x]);
        }
      },
      sy, sx);
}

template <typename T>
void fill(const FillArgs<T>& args) {
  Extents shape = args.shape, strides = args.strides;
  coalesce(shape, strides);
  const std::int64_t step = strides.at[shape.rank - 1];
  for_each_run(
      shape,
      [&](const auto& at, std::int64_t n) {
        for (std::int64_t i = 0; i < n; ++i) args.y[at[0] + i * step] = static_cast<T>(args.value);
      },
      strides);
}

template <typename T>
void axpy(const AxpyArgs<T>& args) {
  const auto alpha = static_cast<Arithmetic<T>>(args.alpha);
  parallel_for_ranges(args.n, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) args.y[i] = static_cast<T>(args.y[i] + alpha * args.x[i]);
  });
}

#define EK_INSTANTIATE(T)                    \
  template void add(const BinaryArgs<T>&);   \
  template void sub(const BinaryArgs<T>&);   \
  template void mul(const BinaryArgs<T>&);   \
  template void div(const BinaryArgs<T>&);   \
  template void equal(const BinaryArgs<T>&); \
  template void exp(const UnaryArgs<T>&);    \
  template void log(const UnaryArgs<T>&);    \
  template void sqrt(const UnaryArgs<T>&);   \
  template void abs(const UnaryArgs<T>&);    \
  template void sign(const UnaryArgs<T>&);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
#undef EK_INSTANTIATE
template void equal(const BinaryArgs<std::int64_t>&);

#define EK_INSTANTIATE(To)                               \
  template void copy(const CopyArgs<To, float>&);        \
  template void copy(const CopyArgs<To, double>&);       \
  template void copy(const CopyArgs<To, bf16>&);         \
  template void copy(const CopyArgs<To, f16>&);          \
  template void copy(const CopyArgs<To, std::int64_t>&); \
  template void copy(const CopyArgs<To, std::uint8_t>&); \
  template void fill(const FillArgs<To>&);               \
  template void axpy(const AxpyArgs<To>&);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
EK_INSTANTIATE(bf16)
EK_INSTANTIATE(f16)
EK_INSTANTIATE(std::int64_t)
EK_INSTANTIATE(std::uint8_t)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cpu
