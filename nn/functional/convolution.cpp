#include "evenkeel/core/dispatch.h"
#include "evenkeel/kernels/conv2d.h"
#include "evenkeel/nn/functional/common.h"
#include "evenkeel/nn/functional/units.h"
#include "evenkeel/nn/functional/window.h"

namespace evenkeel {

using namespace functional;

namespace {

Conv2dSizes checked_sizes(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& o) {
  check_parameters("conv2d", x, {&weight}, {&bias});
  check_storage("conv2d", x.dtype(), x.device());
  EK_CHECK(x.rank() == 4 && weight.rank() == 4, "conv2d: x has shape {} and weight {}, both need 4 axes",
           x.shape().str(), weight.shape().str());
  EK_CHECK(is_possible(o),
           "conv2d: stride ({}, {}), dilation ({}, {}) and groups {} must be at least 1, padding ({}, {}) at "
           "least 0",
           o.stride.h, o.stride.w, o.dilation.h, o.dilation.w, o.groups, o.padding.h, o.padding.w);
  EK_CHECK(
      weight.size(0) % o.groups == 0 && x.size(1) % o.groups == 0 && x.size(1) / o.groups == weight.size(1),
      "conv2d: x of shape {} and weight of shape {} do not fit {} groups", x.shape().str(),
      weight.shape().str(), o.groups);
  EK_CHECK(!bias.defined() || bias.shape() == Shape{weight.size(0)},
           "conv2d: bias of shape {} does not fit weight {}", bias.shape().str(), weight.shape().str());
  EK_CHECK(weight.size(2) >= 1 && weight.size(3) >= 1, "conv2d: the kernel of weight {} is empty",
           weight.shape().str());
  const Conv2dSizes s = conv2d_sizes(x.shape(), weight.shape(), o);
  EK_CHECK(s.P >= 1 && s.Q >= 1, "conv2d: the kernel of weight {} is larger than the padded input {}",
           weight.shape().str(), x.shape().str());
  checked_product("conv2d", {s.N, s.K, s.P, s.Q});  // from here on sizes are multiplied as they are
  return s;
}

/// conv2d where x or weight has no elements: y is the bias, or 0, and the gradients of x and weight are 0.
Tensor conv2d_of_nothing(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dSizes& s) {
  Tensor y = zeros({s.N, s.K, s.P, s.Q}, x.options());
  if (bias.defined()) y.copy_(bias.detach().reshape({s.K, 1, 1}));
  record("conv2d", y, {&x, &weight, &bias},
         [of_x = x.shape(), of_weight = weight.shape(), parameters = weight.options()](const Tensor& dy) {
           return std::vector{zeros(of_x, dy.options()), zeros(of_weight, parameters),
                              sum(dy.to(parameters.dtype), {0, 2, 3})};
         });
  return y;
}

std::vector<Tensor> conv2d_backward(const Tensor& dy, const Tensor& x, const Tensor& weight,
                                    const Conv2dSizes& sizes, bool want_x, bool want_weight, bool want_bias) {
  Tensor dx = empty_if(want_x, x.shape(), x.options());
  Tensor dweight = empty_if(want_weight || want_bias, weight.shape(), weight.options());
  Tensor dbias = empty_if(want_bias, {sizes.K}, weight.options());
  dispatch_storage(x.dtype(), x.device(), [&]<typename T>() {
    using A = Arithmetic<T>;
    if (want_x) {
      const Conv2dBackwardInputArgs<T> args{
          .dx = out<T>(dx), .dy = in<T>(dy), .weight = in<A>(weight), .sizes = sizes};
      run_storage_kernel<cpu::conv2d_backward_input<T>, cuda::conv2d_backward_input<T>>(
          "conv2d_backward_input", x.device(), args);
    }
    if (want_weight || want_bias) {
      const Conv2dBackwardWeightArgs<T> args{
          .dweight = out<A>(dweight), .dbias = out<A>(dbias), .dy = in<T>(dy), .x = in<T>(x), .sizes = sizes};
      run_storage_kernel<cpu::conv2d_backward_weight<T>, cuda::conv2d_backward_weight<T>>(
          "conv2d_backward_weight", x.device(), args);
    }
  });
  return {dx, dweight, dbias};
}

}  // namespace

Tensor conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias, ConvOptions options) {
  const Conv2dSizes sizes = checked_sizes(input, weight, bias, options);
  if (input.numel() == 0 || weight.numel() == 0) return conv2d_of_nothing(input, weight, bias, sizes);
  const FusedBlock block{.weight = weight, .bias = bias, .conv = options};
  if (Tensor y = fused_alone({"conv2d", "conv2d_forward", "conv2d_backward"}, input, block); y.defined())
    return y;
  const Tensor x = dense(input), w = dense(weight), b = dense(bias);
  Tensor y = empty({sizes.N, sizes.K, sizes.P, sizes.Q}, x.options());
  dispatch_storage(x.dtype(), x.device(), [&]<typename T>() {
    using A = Arithmetic<T>;
    const Conv2dForwardArgs<T> args{
        .y = out<T>(y), .x = in<T>(x), .weight = in<A>(w), .bias = in<A>(b), .sizes = sizes};
    run_storage_kernel<cpu::conv2d_forward<T>, cuda::conv2d_forward<T>>("conv2d_forward", x.device(), args);
  });
  record("conv2d", y, {&input, &weight, &bias},
         [x = Saved(x), w = Saved(w), sizes, want_x = wants_grad(input), want_w = wants_grad(weight),
          want_b = wants_grad(bias)](const Tensor& dy) {
           return conv2d_backward(dy, *x, *w, sizes, want_x, want_w, want_b);
         });
  return y;
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_same_kind("linear", {&x, &weight}, {&bias});
  EK_CHECK(x.rank() >= 1 && weight.rank() == 2 && x.size(-1) == weight.size(1),
           "linear: x of shape {} does not fit weight of shape {} = [out, in]", x.shape().str(),
           weight.shape().str());
  EK_CHECK(!bias.defined() || bias.shape() == Shape{weight.size(0)},
           "linear: bias of shape {} does not fit weight {}", bias.shape().str(), weight.shape().str());
  Shape shape = x.shape();
  std::int64_t rows_of_x = 1;
  for (int d = 0; d < x.rank() - 1; ++d) rows_of_x *= x.size(d);
  shape[x.rank() - 1] = weight.size(0);
  const Tensor rows = x.reshape({rows_of_x, x.size(-1)});
  const Tensor y = matmul(rows, weight.transpose(0, 1));
  return (bias.defined() ? y + bias : y).reshape(shape);
}

}  // namespace evenkeel
