#include "kernels/lanes.h"
#include "kernels/pool2d.h"
#include "nn/functional/common.h"

namespace evenkeel {

using namespace functional;

namespace {

/// Images in a vector of x.
std::int64_t lanes_of(const Tensor& x) {
  if (x.format() == MemoryFormat::strided) return 1;
  return dispatch_floating(x.dtype(), []<typename T>() -> std::int64_t { return kLanes<T>; });
}

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
  const std::int64_t planes = H * W > 0 ? memory_size(x) / (H * W) / lanes_of(x) : 0;
  return {planes, H, W, kernel.h, kernel.w, P, Q, o.stride.h, o.stride.w, o.padding.h, o.padding.w};
}

/// x in the format in which it is pooled: the lanes are of images, which [C, H, W] has none of.
Tensor pooled_form(const Tensor& x) { return x.rank() == 4 ? dense_or_lanes(x) : dense(x); }

}  // namespace

Tensor max_pool2d(const Tensor& input, Size2d kernel, PoolOptions options) {
  Shape shape;
  const Tensor x = pooled_form(input);
  const Pool2dSizes sizes = pool2d_sizes("max_pool2d", x, kernel, options, shape);
  const bool lanes = x.format() == MemoryFormat::lanes;
  Tensor y = empty(shape, x.options(), x.format());
  Tensor index = empty_if(!lanes, shape, {DType::i64, x.device()});
  Tensor tap = empty_if(lanes, shape, x.options(), x.format());
  dispatch_storage(x.dtype(), x.device(), [&]<typename T>() {
    const MaxPool2dForwardArgs<T> args{out<T>(y), out<std::int64_t>(index), out<T>(tap), in<T>(x), sizes,
                                       x.format()};
    EK_DISPATCH_STORAGE(T, x.device(), max_pool2d_forward, args);
  });
  record("max_pool2d", y, {&input},
         [index = Saved(index), tap = Saved(tap), shape = x.shape(), sizes](const Tensor& dy) {
           Tensor dx = empty(shape, dy.options(), dy.format());
           dispatch_storage(dy.dtype(), dy.device(), [&]<typename T>() {
             const MaxPool2dBackwardArgs<T> args{out<T>(dx),  in<T>(dy), in<std::int64_t>(*index),
                                                 in<T>(*tap), sizes,     dy.format()};
             EK_DISPATCH_STORAGE(T, dy.device(), max_pool2d_backward, args);
           });
           return std::vector{dx};
         });
  return y;
}

Tensor avg_pool2d(const Tensor& input, Size2d kernel, PoolOptions options) {
  Shape shape;
  const Tensor x = pooled_form(input);
  const Pool2dSizes sizes = pool2d_sizes("avg_pool2d", x, kernel, options, shape);
  Tensor y = empty(shape, x.options(), x.format());
  dispatch_storage(x.dtype(), x.device(), [&]<typename T>() {
    const AvgPool2dForwardArgs<T> args{out<T>(y), in<T>(x), sizes, x.format()};
    EK_DISPATCH_STORAGE(T, x.device(), avg_pool2d_forward, args);
  });
  record("avg_pool2d", y, {&input}, [shape = x.shape(), sizes](const Tensor& dy) {
    Tensor dx = empty(shape, dy.options(), dy.format());
    dispatch_storage(dy.dtype(), dy.device(), [&]<typename T>() {
      const AvgPool2dBackwardArgs<T> args{out<T>(dx), in<T>(dy), sizes, dy.format()};
      EK_DISPATCH_STORAGE(T, dy.device(), avg_pool2d_backward, args);
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
