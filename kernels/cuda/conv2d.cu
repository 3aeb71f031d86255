// Chooses between the kernels for small filters (conv2d_direct.cuh, conv2d_weight.cuh), which the study's
// network uses, and the general ones below, for any stride, padding, dilation and groups.
#include "evenkeel/kernels/conv2d.h"

#include "evenkeel/kernels/cuda/conv2d_direct.cuh"
#include "evenkeel/kernels/cuda/conv2d_weight.cuh"

namespace evenkeel::cuda {
namespace {

/// y [N, K, P, Q]: a thread an output. Bytes: y once; x and the filters as far as the caches hold them.
template <typename T>
__global__ void __launch_bounds__(kConvThreads, 2) conv2d_forward_kernel(Conv2dForwardArgs<T> a) {
  const Conv2dSizes& s = a.sizes;
  const std::int64_t i = thread_number();
  if (i >= s.N * s.K * s.P * s.Q) return;
  const std::int64_t q = i % s.Q, p = i / s.Q % s.P, k = i / (s.Q * s.P) % s.K, n = i / (s.Q * s.P * s.K);
  const std::int64_t channels = s.C / s.groups, first = k / (s.K / s.groups) * channels;
  auto sum = a.bias != nullptr ? a.bias[k] : Arithmetic<T>(0);
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t r = 0; r < s.R; ++r) {
      const std::int64_t h = p * s.stride_h + r * s.dilation_h - s.pad_h;
      if (h < 0 || h >= s.H) continue;
      for (std::int64_t t = 0; t < s.S; ++t) {
        const std::int64_t w = q * s.stride_w + t * s.dilation_w - s.pad_w;
        if (w < 0 || w >= s.W) continue;
        sum += a.weight[((k * channels + c) * s.R + r) * s.S + t] *
               a.x[((n * s.C + first + c) * s.H + h) * s.W + w];
      }
    }
  }
  a.y[i] = static_cast<T>(sum);
}

/// The output index that tap `tap` of input index `at` belongs to along one axis, or -1.
__device__ std::int64_t output_of(std::int64_t at, std::int64_t tap, std::int64_t pad, std::int64_t dilation,
                                  std::int64_t stride, std::int64_t outputs) {
  const std::int64_t from = at + pad - tap * dilation;
  return from >= 0 && from % stride == 0 && from / stride < outputs ? from / stride : -1;
}

/// dx [N, C, H, W]: a thread an input gathers from the outputs that it entered. Bytes: dx once; dy and the
/// filters as far as the caches hold them.
template <typename T>
__global__ void __launch_bounds__(kConvThreads) conv2d_backward_input_kernel(Conv2dBackwardInputArgs<T> a) {
  const Conv2dSizes& s = a.sizes;
  const std::int64_t i = thread_number();
  if (i >= s.N * s.C * s.H * s.W) return;
  const std::int64_t w = i % s.W, h = i / s.W % s.H, c = i / (s.W * s.H) % s.C, n = i / (s.W * s.H * s.C);
  const std::int64_t channels = s.C / s.groups, filters = s.K / s.groups, first = c / channels * filters;
  Arithmetic<T> sum = 0;
  for (std::int64_t k = first; k < first + filters; ++k) {
    for (std::int64_t r = 0; r < s.R; ++r) {
      const std::int64_t p = output_of(h, r, s.pad_h, s.dilation_h, s.stride_h, s.P);
      if (p < 0) continue;
      for (std::int64_t t = 0; t < s.S; ++t) {
        const std::int64_t q = output_of(w, t, s.pad_w, s.dilation_w, s.stride_w, s.Q);
        if (q < 0) continue;
        sum += a.weight[((k * channels + c % channels) * s.R + r) * s.S + t] *
               a.dy[((n * s.K + k) * s.P + p) * s.Q + q];
      }
    }
  }
  a.dx[i] = static_cast<T>(sum);
}

/// dweight [K, C/groups, R, S]: a block a weight, whose threads take every 256th output pixel of all images
/// and are added in a tree. Bytes: dy and x once a weight, from the caches where they hold them.
template <typename T>
__global__ void __launch_bounds__(kConvThreads) conv2d_backward_weight_kernel(Conv2dBackwardWeightArgs<T> a) {
  const Conv2dSizes& s = a.sizes;
  const std::int64_t i = blockIdx.x, channels = s.C / s.groups;
  const std::int64_t t = i % s.S, r = i / s.S % s.R, c = i / (s.S * s.R) % channels,
                     k = i / (s.S * s.R * channels);
  const std::int64_t from = k / (s.K / s.groups) * channels + c;
  Arithmetic<T> sum = 0;
  for (std::int64_t pixel = threadIdx.x; pixel < s.N * s.P * s.Q; pixel += kConvThreads) {
    const std::int64_t q = pixel % s.Q, p = pixel / s.Q % s.P, n = pixel / (s.Q * s.P);
    const std::int64_t h = p * s.stride_h + r * s.dilation_h - s.pad_h,
                       w = q * s.stride_w + t * s.dilation_w - s.pad_w;
    if (h < 0 || h >= s.H || w < 0 || w >= s.W) continue;
    sum += a.dy[((n * s.K + k) * s.P + p) * s.Q + q] * a.x[((n * s.C + from) * s.H + h) * s.W + w];
  }
  block_sum(sum);
  if (threadIdx.x == 0) a.dweight[i] = sum;
}

/// dbias [K]: a block a filter, as above. Bytes: dy once.
template <typename T>
__global__ void __launch_bounds__(kConvThreads) conv2d_backward_bias_kernel(Conv2dBackwardWeightArgs<T> a) {
  const Conv2dSizes& s = a.sizes;
  const std::int64_t plane = s.P * s.Q;
  Arithmetic<T> sum = 0;
  for (std::int64_t pixel = threadIdx.x; pixel < s.N * plane; pixel += kConvThreads)
    sum += a.dy[(pixel / plane * s.K + blockIdx.x) * plane + pixel % plane];
  block_sum(sum);
  if (threadIdx.x == 0) a.dbias[blockIdx.x] = sum;
}

}  // namespace

template <typename T>
void conv2d_forward(const Conv2dForwardArgs<T>& a, Stream stream) {
  const Conv2dSizes& s = a.sizes;
  const auto i = [](std::int64_t n) { return static_cast<int>(n); };
  if (is_direct(s)) {
    const int taps = i(s.R * s.S);
    const DirectConv<T> conv{a.y,    a.x,    a.weight, a.bias,     s.N,        i(s.C),        i(s.H), i(s.W),
                             i(s.K), i(s.P), i(s.Q),   i(s.pad_h), i(s.pad_w), i(s.C) * taps, taps,   false};
    conv2d_direct("conv2d_forward", conv, s.R, stream);
  } else {
    launch("conv2d_forward", conv2d_forward_kernel<T>,
           {blocks_for(s.N * s.K * s.P * s.Q, kConvThreads), kConvThreads, 0, stream}, a);
  }
}

template <typename T>
void conv2d_backward_input(const Conv2dBackwardInputArgs<T>& a, Stream stream) {
  const Conv2dSizes& s = a.sizes;
  const auto i = [](std::int64_t n) { return static_cast<int>(n); };
  if (is_direct_backward(s)) {
    const int taps = i(s.R * s.S), pad_h = i(s.R - 1 - s.pad_h), pad_w = i(s.S - 1 - s.pad_w);
    const DirectConv<T> conv{a.dx,   a.dy,   a.weight, nullptr, s.N,   i(s.K), i(s.P),        i(s.Q),
                             i(s.C), i(s.H), i(s.W),   pad_h,   pad_w, taps,   i(s.C) * taps, true};
    conv2d_direct("conv2d_backward_input", conv, s.R, stream);
  } else {
    launch("conv2d_backward_input", conv2d_backward_input_kernel<T>,
           {blocks_for(s.N * s.C * s.H * s.W, kConvThreads), kConvThreads, 0, stream}, a);
  }
}

template <typename T>
void conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>& a, Stream stream) {
  const Conv2dSizes& s = a.sizes;
  const bool done = is_direct(s) && (s.R == 1 ? conv2d_weight<1>(a, stream) : conv2d_weight<3>(a, stream));
  if (!done) {
    launch("conv2d_backward_weight", conv2d_backward_weight_kernel<T>,
           {s.K * (s.C / s.groups) * s.R * s.S, kConvThreads, 0, stream}, a);
  }
  if (a.dbias != nullptr)
    launch("conv2d_backward_bias", conv2d_backward_bias_kernel<T>, {s.K, kConvThreads, 0, stream}, a);
}

#define EK_INSTANTIATE(T)                                                         \
  template void conv2d_forward(const Conv2dForwardArgs<T>&, Stream);              \
  template void conv2d_backward_input(const Conv2dBackwardInputArgs<T>&, Stream); \
  template void conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>&, Stream);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
EK_INSTANTIATE(bf16)
EK_INSTANTIATE(f16)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cuda
