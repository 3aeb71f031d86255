#include "evenkeel/kernels/dropout.h"
#include "evenkeel/kernels/relu.h"
#include "evenkeel/kernels/softmax.h"
#include "evenkeel/nn/functional/common.h"

namespace evenkeel {

using namespace functional;

Tensor relu(const Tensor& input) {
  const Tensor x = dense_or_lanes(input);
  Tensor y = empty_like(x);
  dispatch_storage(x.dtype(), x.device(), [&]<typename T>() {
    const ReluForwardArgs<T> args{out<T>(y), in<T>(x), memory_size(x)};
    EK_DISPATCH_STORAGE(T, x.device(), relu_forward, args);
  });
  record("relu", y, {&input}, [y = Saved(y)](const Tensor& dy) {
    Tensor dx = empty_like(dy);
    dispatch_storage(dy.dtype(), dy.device(), [&]<typename T>() {
      const ReluBackwardArgs<T> args{out<T>(dx), in<T>(dy), in<T>(*y), memory_size(dy)};
      EK_DISPATCH_STORAGE(T, dy.device(), relu_backward, args);
    });
    return std::vector{dx};
  });
  return y;
}

namespace {

/// y = x masked and scaled: forward, and on dy backward. The mask is written, or read if `is_known`.
Tensor apply_dropout(const Tensor& x, double p, RandomKey key, Tensor& mask, bool is_known) {
  Tensor y = empty_like(x);
  dispatch_floating(
      x.dtype(),
      [&]<typename T>() {
        const DropoutArgs<T> args{out<T>(y),
                                  in<T>(x),
                                  key,
                                  p,
                                  x.numel(),
                                  x.format(),
                                  x.format() == MemoryFormat::lanes ? x.size(0) : 0,
                                  is_known ? nullptr : out<std::uint8_t>(mask),
                                  is_known ? in<std::uint8_t>(mask) : nullptr};
        EK_DISPATCH(x.device(), dropout, args);
      },
      "dropout");
  return y;
}

}  // namespace

Tensor dropout(const Tensor& x, double p, RandomKey key) {
  EK_CHECK(p >= 0 && p < 1, "dropout: p is {}, it must be at least 0 and below 1", p);
  EK_CHECK(key.stream >> 32 == 0, "dropout: stream {} is past 2^32", key.stream);
  const Tensor from = dense_or_lanes(x);
  Tensor mask = empty_if(from.format() == MemoryFormat::lanes, {memory_size(from)}, {DType::u8});
  Tensor y = apply_dropout(from, p, key, mask, false);
  record("dropout", y, {&x}, [p, key, mask](const Tensor& dy) mutable {
    return std::vector{apply_dropout(dy, p, key, mask, mask.defined())};
  });
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
    const LogSoftmaxForwardArgs<T> args{y.mutable_data<T>(), x.data<T>(), M, D};
    EK_DISPATCH(x.device(), log_softmax_forward, args);
  });
  record("log_softmax", y, {&input}, [y = Saved(y), M, D](const Tensor& dy) {
    Tensor dx = empty(dy.shape(), dy.options());
    dispatch_floating(dy.dtype(), [&]<typename T>() {
      const LogSoftmaxBackwardArgs<T> args{dx.mutable_data<T>(), dy.data<T>(), y.get().data<T>(), M, D};
      EK_DISPATCH(dy.device(), log_softmax_backward, args);
    });
    return std::vector{dx};
  });
  return y;
}

}  // namespace evenkeel
