#include "kernels/pool2d.h"
#include "nn/functional/common.h"

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
  EK_CHECK(o.padding.h >= 0 && o.padding.w >= 0 && 2 * o.padding.h <= kernel.h && 2 * o.padding.w <= kernel.w,
           "{}: padding ({}, {}) must be between 0 and half the kernel ({}, {})", op, o.padding.h,
           o.padding.w, kernel.h, kernel.w);
  const std::int64_t H = x.size(-2), W = x.size(-1);
  const std::int64_t room_h = H + 2 * o.padding.h - kernel.h, room_w = W + 2 * o.padding.w - kernel.w;
  EK_CHECK(room_h >= 0 && room_w >= 0, "{}: the kernel ({}, {}) is larger than the padded input {}", op,
           kernel.h, kernel.w, x.shape().str());
  shape = x.shape();
  const std::int64_t P = shape[x.rank() - 2] = room_h / o.stride.h + 1;
  const std::int64_t Q = shape[x.rank() - 1] = room_w / o.stride.w + 1;
  const std::int64_t planes = x.rank() == 4 ? x.size(0) * x.size(1) : x.size(0);
  return {planes, H, W, kernel.h, kernel.w, P, Q, o.stride.h, o.stride.w, o.padding.h, o.padding.w};
}

}  // namespace

Tensor max_pool2d(const Tensor& input, Size2d kernel, PoolOptions options) {
  Shape shape;
  const Pool2dSizes sizes = pool2d_sizes("max_pool2d", input, kernel, options, shape);
  const Tensor x = dense(input);
  Tensor y = empty(shape, x.options()), index = empty(shape, {DType::i64, x.device()});
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const MaxPool2dForwardArgs<T> args{y.mutable_data<T>(), index.mutable_data<std::int64_t>(), x.data<T>(),
                                       sizes};
    EK_DISPATCH(x.device(), max_pool2d_forward, args);
  });
  record("max_pool2d", y, {&input}, [index = Saved(index), shape = x.shape(), sizes](const Tensor& dy) {
    Tensor dx = empty(shape, dy.options());
    dispatch_floating(dy.dtype(), [&]<typename T>() {
      const MaxPool2dBackwardArgs<T> args{dx.mutable_data<T>(), dy.data<T>(),
                                          index.get().data<std::int64_t>(), sizes};
      EK_DISPATCH(dy.device(), max_pool2d_backward, args);
    });
    return std::vector{dx};
  });
  return y;
}

Tensor avg_pool2d(const Tensor& input, Size2d kernel, PoolOptions options) {
  Shape shape;
  const Pool2dSizes sizes = pool2d_sizes("avg_pool2d", input, kernel, options, shape);
  const Tensor x = dense(input);
  Tensor y = empty(shape, x.options());
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const AvgPool2dForwardArgs<T> args{y.mutable_data<T>(), x.data<T>(), sizes};
    EK_DISPATCH(x.device(), avg_pool2d_forward, args);
  });
  record("avg_pool2d", y, {&input}, [shape = x.shape(), sizes](const Tensor& dy) {
    Tensor dx = empty(shape, dy.options());
    dispatch_floating(dy.dtype(), [&]<typename T>() {
      const AvgPool2dBackwardArgs<T> args{dx.mutable_data<T>(), dy.data<T>(), sizes};
      EK_DISPATCH(dy.device(), avg_pool2d_backward, args);
    });
    return std::vector{dx};
  });
  return y;
}

Tensor global_avg_pool2d(const Tensor& x) {
  EK_CHECK(x.rank() == 4, "global_avg_pool2d: x has shape {}, it needs 4 axes", x.shape().str());
  return avg_pool2d(x, {x.size(2), x.size(3)});
}

}  // namespace evenkeel
