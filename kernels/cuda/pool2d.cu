#include "evenkeel/kernels/pool2d.h"

#include "evenkeel/kernels/cuda/reduce.cuh"
#include "evenkeel/kernels/cuda/vector.cuh"

namespace evenkeel::cuda {
namespace {

constexpr int kThreads = 256;

/// The part of the window of output (p, q) that lies inside the plane: rows [h0, h1), columns [w0, w1).
struct Window {
  std::int64_t h0, h1, w0, w1;
  __device__ Window(const Pool2dSizes& s, std::int64_t p, std::int64_t q)
      : h0(max(p * s.stride_h - s.pad_h, std::int64_t{0})),
        h1(min(p * s.stride_h - s.pad_h + s.R, s.H)),
        w0(max(q * s.stride_w - s.pad_w, std::int64_t{0})),
        w1(min(q * s.stride_w - s.pad_w + s.S, s.W)) {}
};

/// The outputs [first, end) along one axis whose windows hold input `at`.
struct Holders {
  std::int64_t first, end;
  __device__ Holders(std::int64_t at, std::int64_t outputs, std::int64_t size, std::int64_t stride,
                     std::int64_t pad)
      : first(max((at + pad - size + stride) / stride, std::int64_t{0})),
        end(min((at + pad) / stride + 1, outputs)) {
    if (at + pad < size) first = 0;
  }
};

/// A pixel of [planes, height, width], taken apart.
struct Pixel {
  std::int64_t plane, row, column;
  __device__ Pixel(std::int64_t i, std::int64_t height, std::int64_t width)
      : plane(i / (height * width)), row(i / width % height), column(i % width) {}
};

/// y [planes, P, Q] and the index of each maximum: a thread an output. The first of equal values, and the
/// last NaN. Bytes: the input once, y and 8 for the index.
template <typename T>
__global__ void __launch_bounds__(kThreads) max_pool2d_forward_kernel(MaxPool2dForwardArgs<T> a) {
  const Pool2dSizes& s = a.sizes;
  const std::int64_t i = thread_number();
  if (i >= s.planes * s.P * s.Q) return;
  const Pixel at(i, s.P, s.Q);
  const Window window(s, at.row, at.column);
  const T* x = a.x + at.plane * s.H * s.W;
  std::int64_t index = window.h0 * s.W + window.w0;
  T largest = x[index];
  for (std::int64_t h = window.h0; h < window.h1; ++h) {
    for (std::int64_t w = window.w0; w < window.w1; ++w) {
      const T value = x[h * s.W + w];
      if (value > largest || value != value) {
        largest = value;
        index = h * s.W + w;
      }
    }
  }
  a.y[i] = largest;
  a.index[i] = index;
}

/// Calls f(o, pixel) for the outputs o whose windows hold input i of [planes, H, W], in their order.
template <typename F>
__device__ __forceinline__ void for_each_holder(const Pool2dSizes& s, std::int64_t i, const F& f) {
  const Pixel at(i, s.H, s.W);
  const Holders rows(at.row, s.P, s.R, s.stride_h, s.pad_h);
  const Holders columns(at.column, s.Q, s.S, s.stride_w, s.pad_w);
  for (std::int64_t p = rows.first; p < rows.end; ++p) {
    for (std::int64_t q = columns.first; q < columns.end; ++q) f((at.plane * s.P + p) * s.Q + q, at);
  }
}

/// dx [planes, H, W]: a thread an input gathers from the windows that hold it, in their order.
/// Bytes: dx, dy and the indices once, read again from the cache where windows overlap.
template <typename T>
__global__ void __launch_bounds__(kThreads) max_pool2d_backward_kernel(MaxPool2dBackwardArgs<T> a) {
  const std::int64_t i = thread_number();
  if (i >= a.sizes.planes * a.sizes.H * a.sizes.W) return;
  Arithmetic<T> total = 0;
  for_each_holder(a.sizes, i, [&](std::int64_t o, const Pixel& at) {
    if (a.index[o] == at.row * a.sizes.W + at.column) total += a.dy[o];
  });
  a.dx[i] = static_cast<T>(total);
}

/// A window of so many pixels is summed by a warp, a smaller one by a thread.
constexpr std::int64_t kWarpWindow = 16;

/// y [planes, P, Q] = sum / (R S): LANES threads an output, which take every LANES-th pixel of the window and
/// are merged in a tree. Bytes: the input and y once.
template <typename T, int LANES>
__global__ void __launch_bounds__(kThreads) avg_pool2d_forward_kernel(AvgPool2dForwardArgs<T> a) {
  const Pool2dSizes& s = a.sizes;
  const std::int64_t i = thread_number() / LANES;
  if (i >= s.planes * s.P * s.Q) return;
  const Pixel at(i, s.P, s.Q);
  const Window window(s, at.row, at.column);
  const T* x = a.x + at.plane * s.H * s.W;
  const std::int64_t width = window.w1 - window.w0, pixels = (window.h1 - window.h0) * width;
  Arithmetic<T> total = 0;
  for (std::int64_t k = threadIdx.x % LANES; k < pixels; k += LANES)
    total += x[(window.h0 + k / width) * s.W + window.w0 + k % width];
  if constexpr (LANES > 1) total = lane_sum(total, LANES);
  if (threadIdx.x % LANES == 0) a.y[i] = static_cast<T>(total / static_cast<Arithmetic<T>>(s.R * s.S));
}

/// dx [planes, H, W] = sum of dy over the windows that hold a pixel / (R S): a thread an input.
/// Bytes: dx and dy once.
template <typename T>
__global__ void __launch_bounds__(kThreads) avg_pool2d_backward_kernel(AvgPool2dBackwardArgs<T> a) {
  const std::int64_t i = thread_number();
  if (i >= a.sizes.planes * a.sizes.H * a.sizes.W) return;
  Arithmetic<T> total = 0;
  for_each_holder(a.sizes, i, [&](std::int64_t o, const Pixel&) { total += a.dy[o]; });
  a.dx[i] = static_cast<T>(total / static_cast<Arithmetic<T>>(a.sizes.R * a.sizes.S));
}

std::int64_t outputs_of(const Pool2dSizes& s) { return s.planes * s.P * s.Q; }
std::int64_t inputs_of(const Pool2dSizes& s) { return s.planes * s.H * s.W; }

}  // namespace

template <typename T>
void max_pool2d_forward(const MaxPool2dForwardArgs<T>& a, Stream stream) {
  launch("max_pool2d_forward", max_pool2d_forward_kernel<T>,
         {blocks_for(outputs_of(a.sizes), kThreads), kThreads, 0, stream}, a);
}

template <typename T>
void max_pool2d_backward(const MaxPool2dBackwardArgs<T>& a, Stream stream) {
  launch("max_pool2d_backward", max_pool2d_backward_kernel<T>,
         {blocks_for(inputs_of(a.sizes), kThreads), kThreads, 0, stream}, a);
}

template <typename T>
void avg_pool2d_forward(const AvgPool2dForwardArgs<T>& a, Stream stream) {
  const bool by_warps = a.sizes.R * a.sizes.S >= kWarpWindow;
  launch("avg_pool2d_forward", by_warps ? avg_pool2d_forward_kernel<T, 32> : avg_pool2d_forward_kernel<T, 1>,
         {blocks_for(outputs_of(a.sizes) * (by_warps ? 32 : 1), kThreads), kThreads, 0, stream}, a);
}

template <typename T>
void avg_pool2d_backward(const AvgPool2dBackwardArgs<T>& a, Stream stream) {
  launch("avg_pool2d_backward", avg_pool2d_backward_kernel<T>,
         {blocks_for(inputs_of(a.sizes), kThreads), kThreads, 0, stream}, a);
}

#define EK_INSTANTIATE(T)                                                     \
  template void max_pool2d_forward(const MaxPool2dForwardArgs<T>&, Stream);   \
  template void max_pool2d_backward(const MaxPool2dBackwardArgs<T>&, Stream); \
  template void avg_pool2d_forward(const AvgPool2dForwardArgs<T>&, Stream);   \
  template void avg_pool2d_backward(const AvgPool2dBackwardArgs<T>&, Stream);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
EK_INSTANTIATE(bf16)
EK_INSTANTIATE(f16)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cuda
