// Convolution and its three gradients.
#include <cmath>
#include <limits>

#include "bench/cudnn_conv.h"
#include "compare.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/functional.h"
#include "reference/conv2d.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

using Inputs = std::vector<Tensor>;

struct ConvCase {
  Shape x, weight;
  ConvOptions options;
  const char* reason;
};

const ConvCase kConv2dCases[] = {
    {{1, 1, 1, 1}, {1, 1, 1, 1}, {}, "minimal"},
    {{2, 3, 5, 7}, {4, 3, 1, 1}, {}, "1x1: a matrix product, odd width"},
    {{1, 2, 3, 3}, {3, 2, 3, 3}, {}, "the kernel covers the image: one output pixel"},
    {{7, 3, 9, 11}, {5, 3, 3, 3}, {}, "7 images, nothing a multiple of a vector"},
    {{17, 1, 5, 6}, {2, 1, 3, 3}, {}, "17 images, one input channel"},
    {{33, 2, 4, 4}, {1, 2, 2, 2}, {}, "33 images, one filter, even kernel"},
    {{2, 3, 11, 13}, {4, 3, 5, 5}, {}, "5x5"},
    {{2, 2, 7, 6}, {3, 2, 4, 2}, {}, "even and oblong kernel"},
    {{2, 2, 6, 9}, {3, 2, 1, 3}, {.padding = {0, 1}}, "a row as kernel"},
    {{2, 3, 6, 6}, {4, 3, 3, 3}, {.padding = 1}, "same size out as in"},
    {{2, 2, 2, 3}, {3, 2, 3, 3}, {.padding = 2}, "the kernel is larger than the image"},
    {{1, 2, 3, 3}, {2, 2, 3, 3}, {.padding = 4}, "some outputs see padding only"},
    {{2, 3, 9, 8}, {4, 3, 3, 3}, {.stride = 2}, "the last column of an even width is never read"},
    {{2, 2, 11, 10}, {3, 2, 2, 2}, {.stride = 3}, "a stride larger than the kernel skips pixels"},
    {{2, 2, 9, 12},
     {3, 2, 3, 3},
     {.stride = {2, 3}, .padding = {1, 0}},
     "different stride and padding each way"},
    {{2, 2, 11, 9}, {3, 2, 3, 3}, {.dilation = 2}, "dilation"},
    {{2, 2, 13, 12}, {3, 2, 3, 2}, {.stride = 2, .padding = 3, .dilation = {3, 2}}, "everything at once"},
    {{2, 6, 5, 5}, {4, 3, 3, 3}, {.groups = 2}, "two groups, fewer filters than channels"},
    {{2, 4, 6, 6}, {4, 1, 3, 3}, {.padding = 1, .groups = 4}, "depthwise"},
    {{2, 3, 5, 7},
     {6, 1, 3, 3},
     {.stride = 2, .padding = 1, .groups = 3},
     "depthwise with two filters a channel"},
    {{1, 40, 6, 5}, {36, 40, 3, 3}, {}, "more channels than any register tile"},
    {{3, 2, 3, 40}, {3, 2, 3, 3}, {.padding = 1}, "long rows"},
    {{3, 2, 40, 3}, {3, 2, 3, 3}, {.padding = 1}, "short rows"},
    {{3, 2, 6, 70}, {3, 2, 3, 3}, {.padding = {1, 0}}, "rows longer than a tile of the GPU"},
    {{2, 3, 70, 5}, {20, 3, 3, 3}, {.padding = 1}, "more rows and filters than a tile of the GPU"},
    {{0, 2, 5, 5}, {3, 2, 3, 3}, {}, "no images"},
    {{2, 0, 5, 5}, {3, 0, 3, 3}, {}, "no channels: the bias alone"},
    {{2, 3, 5, 5}, {0, 3, 3, 3}, {}, "no filters"},
    {{2, 3, 0, 0}, {4, 3, 3, 3}, {.padding = 2}, "no pixels: the bias alone"},
};

/// The nine convolutions of the study's network, for two images.
const ConvCase kStudy[] = {
    {{2, 1, 28, 28}, {4, 1, 3, 3}, {}, "study 1"},    {{2, 4, 26, 26}, {8, 4, 3, 3}, {}, "study 2"},
    {{2, 8, 24, 24}, {16, 8, 1, 1}, {}, "study 3"},   {{2, 16, 12, 12}, {16, 16, 3, 3}, {}, "study 4"},
    {{2, 16, 10, 10}, {16, 16, 1, 1}, {}, "study 5"}, {{2, 16, 10, 10}, {16, 16, 3, 3}, {}, "study 6"},
    {{2, 16, 8, 8}, {16, 16, 3, 3}, {}, "study 7"},   {{2, 16, 6, 6}, {10, 16, 3, 3}, {}, "study 8"},
    {{2, 10, 1, 1}, {10, 10, 1, 1}, {}, "study 9"},
};

reference::Conv2d as_reference(const ConvOptions& o) {
  return {o.stride.h, o.stride.w, o.padding.h, o.padding.w, o.dilation.h, o.dilation.w, o.groups};
}

std::string describe(const ConvCase& c) {
  const ConvOptions& o = c.options;
  return fmt::format("x {}, weight {}, stride ({}, {}), padding ({}, {}), dilation ({}, {}), groups {}: {}",
                     c.x.str(), c.weight.str(), o.stride.h, o.stride.w, o.padding.h, o.padding.w,
                     o.dilation.h, o.dilation.w, o.groups, c.reason);
}

/// One forward and backward pass with random tensors.
struct Run {
  Tensor x, weight, bias, y, dy;

  Run(const ConvCase& c, bool with_bias, TensorOptions options, double mean = 0) {
    Random random;
    x = leaf(random.normal(c.x, options, mean));
    weight = leaf(random.normal(c.weight, parameters_of(options)));
    if (with_bias) bias = leaf(random.normal({c.weight[0]}, parameters_of(options)));
    y = conv2d(x, weight, bias, c.options);
    dy = random.normal(y.shape(), options);
    y.backward(dy);
  }
};

void check_against_reference(const ConvCase& c) {
  for_each_storage_kind([&](TensorOptions options) {
    for (bool with_bias : {false, true}) {
      INFO(describe(c) << "; bias " << with_bias);
      const Run run(c, with_bias, options);
      const Array x = to_array(run.x), weight = to_array(run.weight), dy = to_array(run.dy);
      const Array bias = with_bias ? to_array(run.bias) : Array({c.weight[0]});
      const auto how = as_reference(c.options);
      const auto expected = reference::conv2d_backward(dy, x, weight, how);
      CHECK(close(run.y, reference::conv2d(x, weight, bias, how)));
      CHECK(close(run.x.grad(), expected.dx));
      CHECK(close(run.weight.grad(), expected.dweight));
      // The sum of n numbers from N(0, 1) has size sqrt(n), even where chance makes it small.
      const double terms = static_cast<double>(c.x[0] * run.y.size(2) * run.y.size(3));
      if (with_bias)
        CHECK(close(run.bias.grad(), expected.dbias, tolerance(options.dtype), std::sqrt(terms)));
    }
  });
}

}  // namespace

TEST_CASE("conv2d agrees with the reference, forward and backward") {
  for (const ConvCase& c : kConv2dCases) check_against_reference(c);
}

TEST_CASE("conv2d agrees with the reference on the study's nine convolutions") {
  for (const ConvCase& c : kStudy) check_against_reference(c);
}

TEST_CASE("conv2d sums the weight gradient of a full batch without losing digits") {
  // 64 * 24 * 24 = 36,864 terms a weight, which f32 must not add one by one.
  check_against_reference({{64, 1, 26, 26}, {3, 1, 3, 3}, {}, "a full batch"});
}

TEST_CASE("conv2d has the right gradients") {
  for_each_device([](TensorOptions options) {
    for (const ConvCase& c : kConv2dCases) {
      INFO(describe(c));
      Random random;
      const Inputs inputs{leaf(random.normal(c.x, options)), leaf(random.normal(c.weight, options)),
                          leaf(random.normal({c.weight[0]}, options))};
      CHECK(gradcheck([&](const Inputs& in) { return conv2d(in[0], in[1], in[2], c.options); }, inputs,
                      {.max_elements = 30}));
    }
  });
}

TEST_CASE("conv2d works where the mean of the input dwarfs its spread") {
  for_each_storage_kind([](TensorOptions options) {
    const ConvCase c{{3, 4, 9, 9}, {5, 4, 3, 3}, {.padding = 1}, "mean 1000"};
    const Run run(c, true, options, 1000);
    const auto how = as_reference(c.options);
    const Array x = to_array(run.x), weight = to_array(run.weight);
    CHECK(close(run.y, reference::conv2d(x, weight, to_array(run.bias), how)));
    const auto expected = reference::conv2d_backward(to_array(run.dy), x, weight, how);
    // 243 terms of size 1000 each, with random signs.
    CHECK(close(run.weight.grad(), expected.dweight, tolerance(options.dtype), 1000 * std::sqrt(243)));
  });
}

TEST_CASE("conv2d takes views with other strides, and gradients flow back through them") {
  const auto check = [](TensorOptions options) {
    const ConvCase c{{3, 4, 6, 5}, {2, 4, 3, 3}, {.stride = 2, .padding = 1}, "views"};
    const Run dense(c, true, options);
    for (const auto& view : {with_gaps, transposed_in_memory}) {
      CHECK(same_bits(conv2d(view(dense.x), view(dense.weight), view(dense.bias), c.options), dense.y));
      Tensor x = leaf(dense.x), weight = leaf(dense.weight);
      conv2d(transposed_in_memory(x), transposed_in_memory(weight), dense.bias.detach(), c.options)
          .backward(view(dense.dy));
      CHECK(same_bits(x.grad(), dense.x.grad()));
      CHECK(same_bits(weight.grad(), dense.weight.grad()));
    }
  };
  for_each_kind(check);
  for_each_16bit_kind(check);
}

TEST_CASE("conv2d gives only the gradients that are wanted, and the same ones") {
  for_each_storage_kind([](TensorOptions options) {
    const ConvCase c{{3, 4, 6, 5}, {2, 4, 3, 3}, {}, "partial gradients"};
    const Run all(c, true, options);
    for (std::size_t wanted = 0; wanted < 3; ++wanted) {
      INFO("input " << wanted);
      Inputs in{all.x.detach(), all.weight.detach(), all.bias.detach()};
      in[wanted].requires_grad_();
      conv2d(in[0], in[1], in[2]).backward(all.dy);
      const Inputs expected{all.x.grad(), all.weight.grad(), all.bias.grad()};
      for (std::size_t i = 0; i < 3; ++i) CHECK(in[i].grad().defined() == (i == wanted));
      CHECK(same_bits(in[wanted].grad(), expected[wanted]));
    }
  });
}

TEST_CASE("conv2d does not depend on the number of threads") {
  const ConvCase cases[] = {
      {{64, 4, 26, 26}, {8, 4, 3, 3}, {}, "the study's second, a full batch"},
      {{37, 16, 12, 12}, {16, 16, 3, 3}, {}, "a batch that threads cannot share evenly"},
      {{37, 8, 24, 24}, {16, 8, 1, 1}, {}, "1x1"},
      {{37, 4, 15, 15}, {6, 2, 3, 3}, {.stride = 2, .padding = 1, .groups = 2}, "strided and grouped"},
  };
  for_each_kind([&](TensorOptions options) {
    for (const ConvCase& c : cases) {
      INFO(describe(c));
      check_independent_of_threads([&] {
        const Run run(c, true, options);
        return Inputs{run.y, run.x.grad(), run.weight.grad(), run.bias.grad()};
      });
    }
  });
}

TEST_CASE("an image's convolution does not depend on its batch") {
  for_each_kind([](TensorOptions options) {
    const ConvCase c{{7, 3, 9, 9}, {4, 3, 3, 3}, {}, "one of seven"};
    const Run run(c, true, options);
    const Tensor alone = conv2d(run.x.detach().slice(0, 3, 4), run.weight.detach(), run.bias.detach());
    CHECK(close(alone, to_array(run.y.slice(0, 3, 4))));
  });
}

TEST_CASE("NaN stays where it was, and is not hidden by a zero weight") {
  for_each_storage_kind([](TensorOptions options) {
    Tensor x = ones({2, 1, 5, 5}, options);
    x.slice(0, 1, 2).slice(2, 0, 1).slice(3, 0, 1).fill_(std::numeric_limits<double>::quiet_NaN());
    const Array y = to_array(conv2d(x, zeros({1, 1, 3, 3}, parameters_of(options))));
    for (int n = 0; n < 2; ++n) {
      for (int p = 0; p < 3; ++p) {
        for (int q = 0; q < 3; ++q) CHECK(std::isnan(y(n, 0, p, q)) == (n == 1 && p == 0 && q == 0));
      }
    }
  });
}

TEST_CASE("an infinity reaches the weights that met it, and no others") {
  for_each_storage_kind([](TensorOptions options) {
    Tensor x = ones({1, 1, 5, 5}, options), weight = leaf(ones({1, 1, 3, 3}, parameters_of(options)));
    x.slice(2, 4, 5).slice(3, 2, 3).fill_(std::numeric_limits<double>::infinity());
    conv2d(x, weight, {}, {.padding = 1}).backward(ones({1, 1, 5, 5}, options));
    const Array dweight = to_array(weight.grad());
    for (int r = 0; r < 3; ++r) {  // padded by one row, the first row of taps never sees the last row of x
      for (int s = 0; s < 3; ++s) CHECK(std::isfinite(dweight(0, 0, r, s)) == (r == 0));
    }
  });
}

namespace {

Conv2dSizes conv_sizes(const ConvCase& c, const Shape& y) {
  const ConvOptions& o = c.options;
  return {.N = c.x[0],
          .C = c.x[1],
          .H = c.x[2],
          .W = c.x[3],
          .K = c.weight[0],
          .R = c.weight[2],
          .S = c.weight[3],
          .P = y[2],
          .Q = y[3],
          .stride_h = o.stride.h,
          .stride_w = o.stride.w,
          .pad_h = o.padding.h,
          .pad_w = o.padding.w,
          .dilation_h = o.dilation.h,
          .dilation_w = o.dilation.w,
          .groups = o.groups};
}

/// All three of cuDNN's convolutions against the reference, on the first CUDA device.
template <typename T>
void check_cudnn_against_reference(const ConvCase& c, DType dtype) {
  const TensorOptions options{dtype, Device::cuda()};
  const Stream stream = current_stream(0);
  for (bool with_bias : {false, true}) {
    INFO(name_of(dtype) << ", " << describe(c) << "; bias " << with_bias);
    Random random;
    const Tensor x = random.normal(c.x, options), weight = random.normal(c.weight, options),
                 bias = random.normal({c.weight[0]}, options);
    const Array no_bias({c.weight[0]}), in = to_array(x), filters = to_array(weight);
    const auto how = as_reference(c.options);
    const Array expected_y = reference::conv2d(in, filters, with_bias ? to_array(bias) : no_bias, how);
    Tensor y = empty({c.x[0], c.weight[0], expected_y.size(2), expected_y.size(3)}, options);
    const Conv2dSizes sizes = conv_sizes(c, y.shape());
    bench::cudnn_conv2d_forward<T>({.y = y.mutable_data<T>(),
                                    .x = x.data<T>(),
                                    .weight = weight.data<T>(),
                                    .bias = with_bias ? bias.data<T>() : nullptr,
                                    .sizes = sizes},
                                   stream);
    CHECK(close(y, expected_y));

    const Tensor dy = random.normal(y.shape(), options);
    const auto expected = reference::conv2d_backward(to_array(dy), in, filters, how);
    Tensor dx = empty(c.x, options), dweight = empty(c.weight, options), dbias = empty(bias.shape(), options);
    bench::cudnn_conv2d_backward_input<T>(
        {.dx = dx.mutable_data<T>(), .dy = dy.data<T>(), .weight = weight.data<T>(), .sizes = sizes}, stream);
    CHECK(close(dx, expected.dx));
    bench::cudnn_conv2d_backward_weight<T>({.dweight = dweight.mutable_data<T>(),
                                            .dbias = with_bias ? dbias.mutable_data<T>() : nullptr,
                                            .dy = dy.data<T>(),
                                            .x = x.data<T>(),
                                            .sizes = sizes},
                                           stream);
    CHECK(close(dweight, expected.dweight));
    // The sum of n numbers from N(0, 1) has size sqrt(n), even where chance makes it small.
    const double terms = static_cast<double>(sizes.N * sizes.P * sizes.Q);
    if (with_bias) CHECK(close(dbias, expected.dbias, tolerance(dtype), std::sqrt(terms)));
  }
}

}  // namespace

TEST_CASE("cuDNN's convolutions agree with the reference, or the reason is given why they cannot be had") {
  if constexpr (kCudaEnabled) {
    if (const std::string& why = bench::why_no_cudnn(); !why.empty()) {
      const std::string message = "cuDNN cannot be used: " + why;
      CHECK_THROWS_WITH(bench::cudnn_conv2d_forward<float>({}, nullptr), message);
      CHECK_THROWS_WITH(bench::cudnn_conv2d_backward_input<float>({}, nullptr), message);
      CHECK_THROWS_WITH(bench::cudnn_conv2d_backward_weight<double>({}, nullptr), message);
      WARN("cuDNN: " << why);
    } else if (cuda_devices().count > 0) {
      const auto check = [](const ConvCase& c) {
        if (c.x.numel() == 0 || c.weight.numel() == 0) return;  // cuDNN knows no empty arrays
        check_cudnn_against_reference<float>(c, DType::f32);
        check_cudnn_against_reference<double>(c, DType::f64);
      };
      for (const ConvCase& c : kConv2dCases) check(c);
      for (const ConvCase& c : kStudy) check(c);
    }
  }
}

TEST_CASE("conv2d refuses what does not fit") {
  const Tensor x = zeros({2, 4, 8, 8}), w = zeros({6, 4, 3, 3});
  const auto message = [&](const Tensor& in, const Tensor& weight, const Tensor& bias, ConvOptions options) {
    return error_of([&] { conv2d(in, weight, bias, options); });
  };
  CHECK(mentions(message(x, zeros({6, 3, 3, 3}), {}, {}), {"conv2d", "[2, 4, 8, 8]", "[6, 3, 3, 3]"}));
  CHECK(mentions(message(zeros({4, 8, 8}), w, {}, {}), {"conv2d", "[4, 8, 8]", "[6, 4, 3, 3]"}));
  CHECK(mentions(message(x, zeros({6, 36}), {}, {}), {"conv2d", "[2, 4, 8, 8]", "[6, 36]"}));
  CHECK(mentions(message(x, w, {}, {.groups = 2}), {"conv2d", "[2, 4, 8, 8]", "[6, 4, 3, 3]", "2"}));
  CHECK(mentions(message(x, zeros({5, 2, 3, 3}), {}, {.groups = 2}), {"conv2d", "[5, 2, 3, 3]", "2"}));
  CHECK(mentions(message(x, w, zeros({4}), {}), {"conv2d", "[4]", "[6, 4, 3, 3]"}));
  CHECK(mentions(message(x, w, zeros({6, 1}), {}), {"conv2d", "[6, 1]"}));
  CHECK(mentions(message(zeros({2, 4, 2, 8}), w, {}, {}), {"conv2d", "[2, 4, 2, 8]", "[6, 4, 3, 3]"}));
  CHECK(mentions(message(x, w, {}, {.dilation = 4}), {"conv2d", "[2, 4, 8, 8]", "[6, 4, 3, 3]"}));
  CHECK(mentions(message(x, w, {}, {.stride = 0}), {"conv2d", "stride"}));
  CHECK(mentions(message(x, w, {}, {.padding = {0, -1}}), {"conv2d", "padding"}));
  CHECK(mentions(message(x, w, {}, {.dilation = {0, 1}}), {"conv2d", "dilation"}));
  CHECK(mentions(message(x, w, {}, {.groups = 0}), {"conv2d", "groups"}));
  CHECK(mentions(message(x, w.to(DType::f64), {}, {}), {"conv2d", "f32", "f64"}));
  CHECK(message(x, w.to(DType::bf16), {}, {}) ==
        "conv2d: x is f32, so its parameters must be f32, not bf16; convert one with to()");
  CHECK(message(x.to(DType::bf16), w.to(DType::bf16), {}, {}) ==
        "conv2d: x is bf16, so its parameters must be f32, not bf16; convert one with to()");
  CHECK(message(x.to(DType::f16), w, zeros({6}, {DType::f64}), {}) ==
        "conv2d: x is f16, so its parameters must be f32, not f64; convert one with to()");
  CHECK(message(x.to(DType::bf16), w, {}, {}) ==
        "conv2d: bf16 is computed on CUDA devices only; convert with to(DType::f32)");
  CHECK(mentions(message(x.to(DType::i64), w.to(DType::i64), {}, {}), {"floating", "i64"}));
  CHECK(mentions(message(x, {}, {}, {}), {"conv2d"}));
  CHECK(mentions(message({}, w, {}, {}), {"conv2d"}));
}
