#include <algorithm>
#include <limits>

#include "evenkeel/core/dispatch.h"
#include "evenkeel/kernels/pool2d.h"
#include "evenkeel/nn/functional/common.h"
#include "evenkeel/nn/functional/units.h"
#include "evenkeel/nn/functional/window.h"

namespace evenkeel {

using namespace functional;

namespace {

/// The sizes of a pooling, and in `shape` that of its output.
Pool2dSizes pool2d_sizes(const char* op, const Tensor& x, Size2d kernel, PoolOptions o, Shape& shape) {
  EK_CHECK(x.rank() == 3 || x.rank() == 4, "{}: x has shape {}, it needs 3 or 4 axes", op, x.shape().str());
  if (o.stride == Size2d(0)) o.stride = kernel;
  EK_CHECK(kernel.h >= 1 && kernel.w >= 1 && o.stride.h >= 1 && o.stride.w >= 1,
           "{}: kernel ({}, {}) and stride ({}, {}) must be at least 1", op, kernel.h, kernel.w, o.stride.h,
           o.stride.w);
  EK_CHECK(o.padding.h >= 0 && o.padding.w >= 0 && o.padding.h <= kernel.h / 2 && o.padding.w <= kernel.w / 2,
           "{}: padding ({}, {}) must be between 0 and half the kernel ({}, {})", op, o.padding.h,
           o.padding.w, kernel.h, kernel.w);
  constexpr std::int64_t kMost =
      std::numeric_limits<std::int32_t>::max();  // so that a window's size has 64 bits
  EK_CHECK(kernel.h <= kMost && kernel.w <= kMost, "{}: kernel ({}, {}) must be below 2^31", op, kernel.h,
           kernel.w);
  WindowAxis h{x.size(-2), kernel.h, 1, o.padding.h, o.stride.h};
  WindowAxis w{x.size(-1), kernel.w, 1, o.padding.w, o.stride.w};
  EK_CHECK(h.in >= 1 && w.in >= 1, "{}: x of shape {} has no pixels", op, x.shape().str());
  const std::int64_t P = count_windows(op, h), Q = count_windows(op, w);
  EK_CHECK(P >= 1 && Q >= 1, "{}: the kernel ({}, {}) is larger than the padded input {}", op, kernel.h,
           kernel.w, x.shape().str());
  shape = x.shape();
  shape[x.rank() - 2] = P;
  shape[x.rank() - 1] = Q;
  const std::int64_t planes = x.numel() / (h.in * w.in);
  return {planes, h.in, w.in, kernel.h, kernel.w, P, Q, h.stride, w.stride, h.pad, w.pad};
}

}  // namespace

Tensor max_pool2d(const Tensor& input, Size2d kernel, PoolOptions options) {
  Shape shape;
  const Tensor x = dense(input);
  const Pool2dSizes sizes = pool2d_sizes("max_pool2d", x, kernel, options, shape);
  if (is_fused_pool(FusedPool::max, kernel, options)) {
    const RunNames names{"max_pool2d", "max_pool2d_forward", "max_pool2d_backward"};
    if (Tensor y = fused_alone(names, input, {.pool = FusedPool::max, .window = kernel.h}); y.defined())
      return y;
  }
  Tensor y = empty(shape, x.options()), index = empty(shape, {DType::i64, x.device()});
  dispatch_storage(x.dtype(), x.device(), [&]<typename T>() {
    const MaxPool2dForwardArgs<T> args{
        .y = out<T>(y), .index = out<std::int64_t>(index), .x = in<T>(x), .sizes = sizes};
    run_storage_kernel<cpu::max_pool2d_forward<T>, cuda::max_pool2d_forward<T>>("max_pool2d_forward",
                                                                                x.device(), args);
  });
  record("max_pool2d", y, {&input}, [index = Saved(index), shape = x.shape(), sizes](const Tensor& dy) {
    Tensor dx = empty(shape, dy.options());
    dispatch_storage(dy.dtype(), dy.device(), [&]<typename T>() {
      const MaxPool2dBackwardArgs<T> args{
          .dx = out<T>(dx), .dy = in<T>(dy), .index = in<std::int64_t>(*index), .sizes = sizes};
      run_storage_kernel<cpu::max_pool2d_backward<T>, cuda::max_pool2d_backward<T>>("max_pool2d_backward",
                                                                                    dy.device(), args);
    });
    return std::vector{dx};
  });
  return y;
}

Tensor avg_pool2d(const Tensor& input, Size2d kernel, PoolOptions options) {
  Shape shape;
  const Tensor x = dense(input);
  const Pool2dSizes sizes = pool2d_sizes("avg_pool2d", x, kernel, options, shape);
  if (is_fused_pool(FusedPool::average, kernel, options)) {
    const RunNames names{"avg_pool2d", "avg_pool2d_forward", "avg_pool2d_backward"};
    if (Tensor y = fused_alone(names, input, {.pool = FusedPool::average, .window = kernel.h}); y.defined())
      return y;
  }
  Tensor y = empty(shape, x.options());
  dispatch_storage(x.dtype(), x.device(), [&]<typename T>() {
    const AvgPool2dForwardArgs<T> args{.y = out<T>(y), .x = in<T>(x), .sizes = sizes};
    run_storage_kernel<cpu::avg_pool2d_forward<T>, cuda::avg_pool2d_forward<T>>("avg_pool2d_forward",
                                                                                x.device(), args);
  });
  record("avg_pool2d", y, {&input}, [shape = x.shape(), sizes](const Tensor& dy) {
    Tensor dx = empty(shape, dy.options());
    dispatch_storage(dy.dtype(), dy.device(), [&]<typename T>() {
      const AvgPool2dBackwardArgs<T> args{.dx = out<T>(dx), .dy = in<T>(dy), .sizes = sizes};
      run_storage_kernel<cpu::avg_pool2d_backward<T>, cuda::avg_pool2d_backward<T>>("avg_pool2d_backward",
                                                                                    dy.device(), args);
    });
    return std::vector{dx};
  });
  return y;
}

Tensor global_avg_pool2d(const Tensor& x) {
  EK_CHECK(x.rank() == 4, "global_avg_pool2d: x has shape {}, it needs 4 axes", x.shape().str());
  if (x.size(2) == 0 || x.size(3) == 0) return mean_of_nothing(x, {2, 3}, /*keepdim=*/true);
  return avg_pool2d(x, {x.size(2), x.size(3)});
}

}  // namespace evenkeel
