#include "evenkeel/core/dispatch.h"
#include "evenkeel/core/reordered.h"
#include "evenkeel/kernels/dropout.h"
#include "evenkeel/kernels/relu.h"
#include "evenkeel/kernels/softmax.h"
#include "evenkeel/nn/functional/common.h"
#include "evenkeel/nn/functional/units.h"

namespace evenkeel {

using namespace functional;

Tensor relu(const Tensor& input) {
  InOneOrder of(dense(input));
  dispatch_storage(input.dtype(), input.device(), [&]<typename T>() {
    const ReluForwardArgs<T> args{.y = out<T>(of.y), .x = in<T>(of.a), .n = of.y.numel()};
    run_storage_kernel<cpu::relu_forward<T>, cuda::relu_forward<T>>("relu_forward", input.device(), args);
  });
  Tensor y = of.result();
  record("relu", y, {&input}, [y = Saved(y)](const Tensor& dy) {
    InOneOrder of_dx("relu", dy, *y);
    const Tensor g = of_dx.a.contiguous(), of_y = of_dx.b.contiguous();  // a single element is repeated
    dispatch_storage(dy.dtype(), dy.device(), [&]<typename T>() {
      const ReluBackwardArgs<T> args{
          .dx = out<T>(of_dx.y), .dy = in<T>(g), .y = in<T>(of_y), .n = of_dx.y.numel()};
      run_storage_kernel<cpu::relu_backward<T>, cuda::relu_backward<T>>("relu_backward", dy.device(), args);
    });
    return std::vector{of_dx.result()};
  });
  return y;
}

namespace {

/// y = x masked and scaled: forward, and on dy backward.
Tensor apply_dropout(const Tensor& x, double p, RandomKey key) {
  Tensor y = empty_like(x);
  dispatch_floating(
      x.dtype(),
      [&]<typename T>() {
        const DropoutArgs<T> args{.y = out<T>(y), .x = in<T>(x), .key = key, .p = p, .n = x.numel()};
        run_kernel<cpu::dropout<T>, cuda::dropout<T>>("dropout", x.device(), args);
      },
      "dropout");
  return y;
}

}  // namespace

Tensor dropout(const Tensor& x, double p, RandomKey key) {
  EK_CHECK(p >= 0 && p < 1, "dropout: p is {}, it must be at least 0 and below 1", p);
  EK_CHECK(key.stream >> 32 == 0, "dropout: stream {} is past 2^32", key.stream);
  if (Tensor y = fused_alone({"dropout", "dropout", "dropout"}, x, {.p = p, .key = key}); y.defined())
    return y;
  Tensor y = apply_dropout(dense(x), p, key);
  record("dropout", y, {&x}, [p, key](const Tensor& dy) { return std::vector{apply_dropout(dy, p, key)}; });
  return y;
}

Tensor log_softmax(const Tensor& input, int axis) {
  axis = normalize_axis("log_softmax", axis, input.rank());
  const int last = input.rank() - 1;
  if (axis != last) return log_softmax(input.transpose(axis, last)).transpose(axis, last);
  const Tensor x = dense(input);
  const std::int64_t D = x.size(-1), M = D > 0 ? x.numel() / D : 0;
  Tensor y = empty(x.shape(), x.options());
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const LogSoftmaxForwardArgs<T> args{.y = y.mutable_data<T>(), .x = x.data<T>(), .M = M, .D = D};
    run_kernel<cpu::log_softmax_forward<T>, cuda::log_softmax_forward<T>>("log_softmax_forward", x.device(),
                                                                          args);
  });
  record("log_softmax", y, {&input}, [y = Saved(y), M, D](const Tensor& dy) {
    Tensor dx = empty(dy.shape(), dy.options());
    dispatch_floating(dy.dtype(), [&]<typename T>() {
      const LogSoftmaxBackwardArgs<T> args{
          .dx = dx.mutable_data<T>(), .dy = dy.data<T>(), .y = y.get().data<T>(), .M = M, .D = D};
      run_kernel<cpu::log_softmax_backward<T>, cuda::log_softmax_backward<T>>("log_softmax_backward",
                                                                              dy.device(), args);
    });
    return std::vector{dx};
  });
  return y;
}

}  // namespace evenkeel
