#include "evenkeel/kernels/elementwise.h"

#include <cmath>

#include "evenkeel/kernels/cuda/strided.cuh"

namespace evenkeel::cuda {
namespace {

struct Add {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Sub {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a - b;
  }
};
struct Mul {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a * b;
  }
};
struct Div {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a / b;
  }
};
struct Equal {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return static_cast<T>(a == b);
  }
};

// --- y = f(a, b) -------------------------------------------------------------------------------------------

/// f(a, b), computed in Arithmetic<T> and rounded once.
template <typename T, typename F>
struct OfBoth {
  __device__ T operator()(std::int64_t, T a, T b) const {
    return static_cast<T>(F{}(Arithmetic<T>(a), Arithmetic<T>(b)));
  }
};
/// The second operand is one number in device memory.
template <typename T, typename F>
struct OfScalar {
  const T* b;
  __device__ T operator()(std::int64_t i, T a) const { return OfBoth<T, F>{}(i, a, *b); }
};

/// y [shape] dense, a and b by their strides. Bytes: n sizeof(T) for y, and for a and b the elements that
/// they have; a transposed input is read in sectors of 32 bytes, of which it uses sizeof(T).
template <typename T, typename F>
__global__ void __launch_bounds__(kMapThreads) strided_binary_kernel(BinaryArgs<T> g, std::int64_t n) {
  const std::int64_t i = thread_number();
  if (i >= n) return;
  g.y[i] =
      OfBoth<T, F>{}(i, g.a[offset_of(i, g.shape, g.a_strides)], g.b[offset_of(i, g.shape, g.b_strides)]);
}

template <typename F, typename T>
void binary(const char* name, BinaryArgs<T> g, Stream stream) {
  const std::int64_t n = count_of(g.shape);
  coalesce(g.shape, g.a_strides, g.b_strides);
  const std::int64_t sa = g.a_strides.at[0], sb = g.b_strides.at[0];
  if (g.shape.rank == 1 && sa == 1 && sb == 1) {
    map(name, g.y, n, OfBoth<T, F>{}, stream, g.a, g.b);
  } else if (g.shape.rank == 1 && sa == 1 && sb == 0) {
    map(name, g.y, n, OfScalar<T, F>{g.b}, stream, g.a);
  } else {
    launch(name, strided_binary_kernel<T, F>, {blocks_for(n, kMapThreads), kMapThreads, 0, stream}, g, n);
  }
}

// --- y = f(x), dense: 2 n sizeof(T) bytes
// --------------------------------------------------------------------

/// Two exponentials or logarithms of f64 at once would not fit into registers.
template <typename T>
constexpr int kUnaryVector = sizeof(T) == 8 ? 1 : kVector<T>;

struct Exp {
  template <typename T>
  __device__ T operator()(std::int64_t, T x) const {
    return std::exp(x);
  }
};
struct Log {
  template <typename T>
  __device__ T operator()(std::int64_t, T x) const {
    return std::log(x);
  }
};
struct Sqrt {
  template <typename T>
  __device__ T operator()(std::int64_t, T x) const {
    return std::sqrt(x);
  }
};
struct Abs {
  template <typename T>
  __device__ T operator()(std::int64_t, T x) const {
    return std::abs(x);
  }
};
struct Sign {
  template <typename T>
  __device__ T operator()(std::int64_t, T x) const {
    return x > T(0) ? T(1) : x < T(0) ? T(-1) : x;  // NaN stays NaN
  }
};
struct Identity {
  template <typename T>
  __device__ T operator()(std::int64_t, T x) const {
    return x;
  }
};

// --- copies and fills
// ----------------------------------------------------------------------------------------

/// y = converted<To>(x). Bytes: n (sizeof(To) + sizeof(From)) where both are dense.
template <typename To, typename From>
__global__ void __launch_bounds__(kMapThreads) strided_copy_kernel(CopyArgs<To, From> g, std::int64_t n) {
  const std::int64_t i = thread_number();
  if (i >= n) return;
  g.y[offset_of(i, g.shape, g.y_strides)] = converted<To>(g.x[offset_of(i, g.shape, g.x_strides)]);
}

template <typename T>
struct Value {
  T value;
  __device__ T operator()(std::int64_t) const { return value; }
};

template <typename T>
__global__ void __launch_bounds__(kMapThreads) strided_fill_kernel(FillArgs<T> g, std::int64_t n) {
  const std::int64_t i = thread_number();
  if (i < n) g.y[offset_of(i, g.shape, g.strides)] = static_cast<T>(g.value);
}

/// y + alpha x.
template <typename T>
struct Axpy {
  Arithmetic<T> alpha;
  __device__ T operator()(std::int64_t, T y, T x) const { return static_cast<T>(y + alpha * x); }
};

}  // namespace

#define EK_BINARY(name, F)                              \
  template <typename T>                                 \
  void name(const BinaryArgs<T>& args, Stream stream) { \
    binary<F>(#name, args, stream);                     \
  }                                                     \
  template void name(const BinaryArgs<float>&, Stream); \
  template void name(const BinaryArgs<double>&, Stream);
EK_BINARY(add, Add)
template void add(const BinaryArgs<bf16>&, Stream);
template void add(const BinaryArgs<f16>&, Stream);
EK_BINARY(sub, Sub)
EK_BINARY(mul, Mul)
EK_BINARY(div, Div)
EK_BINARY(equal, Equal)
template void equal(const BinaryArgs<std::int64_t>&, Stream);
#undef EK_BINARY

#define EK_UNARY(name, F)                                                     \
  template <typename T>                                                       \
  void name(const UnaryArgs<T>& args, Stream stream) {                        \
    map_vectors<kUnaryVector<T>>(#name, args.y, args.n, F{}, stream, args.x); \
  }                                                                           \
  template void name(const UnaryArgs<float>&, Stream);                        \
  template void name(const UnaryArgs<double>&, Stream);
EK_UNARY(exp, Exp)
EK_UNARY(log, Log)
EK_UNARY(sqrt, Sqrt)
EK_UNARY(abs, Abs)
EK_UNARY(sign, Sign)
#undef EK_UNARY

template <typename To, typename From>
void copy(const CopyArgs<To, From>& args, Stream stream) {
  CopyArgs<To, From> g = args;
  const std::int64_t n = count_of(g.shape);
  coalesce(g.shape, g.y_strides, g.x_strides);
  if constexpr (std::is_same_v<To, From>) {
    if (g.shape.rank == 1 && g.y_strides.at[0] == 1 && g.x_strides.at[0] == 1) {
      map("copy", g.y, n, Identity{}, stream, g.x);
      return;
    }
  }
  launch("copy", strided_copy_kernel<To, From>, {blocks_for(n, kMapThreads), kMapThreads, 0, stream}, g, n);
}

/// Bytes: n sizeof(T).
template <typename T>
void fill(const FillArgs<T>& args, Stream stream) {
  FillArgs<T> g = args;
  const std::int64_t n = count_of(g.shape);
  coalesce(g.shape, g.strides);
  if (g.shape.rank == 1 && g.strides.at[0] == 1) {
    map("fill", g.y, n, Value<T>{static_cast<T>(g.value)}, stream);
  } else {
    launch("fill", strided_fill_kernel<T>, {blocks_for(n, kMapThreads), kMapThreads, 0, stream}, g, n);
  }
}

/// Bytes: 3 n sizeof(T).
template <typename T>
void axpy(const AxpyArgs<T>& args, Stream stream) {
  map("axpy", args.y, args.n, Axpy<T>{static_cast<Arithmetic<T>>(args.alpha)}, stream,
      static_cast<const T*>(args.y), args.x);
}

#define EK_COPY(To)                                              \
  template void copy(const CopyArgs<To, float>&, Stream);        \
  template void copy(const CopyArgs<To, double>&, Stream);       \
  template void copy(const CopyArgs<To, bf16>&, Stream);         \
  template void copy(const CopyArgs<To, f16>&, Stream);          \
  template void copy(const CopyArgs<To, std::int64_t>&, Stream); \
  template void copy(const CopyArgs<To, std::uint8_t>&, Stream); \
  template void fill(const FillArgs<To>&, Stream);               \
  template void axpy(const AxpyArgs<To>&, Stream);
EK_COPY(float)
EK_COPY(double)
EK_COPY(bf16)
EK_COPY(f16)
EK_COPY(std::int64_t)
EK_COPY(std::uint8_t)
#undef EK_COPY

}  // namespace evenkeel::cuda
