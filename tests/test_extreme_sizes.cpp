// Ops on tensors without elements, with the values and gradients that PyTorch has, and sizes that 64 bits do
// not hold.
#include <cmath>
#include <functional>

#include "compare.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/functional.h"
#include "evenkeel/nn/layers.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

using Inputs = std::vector<Tensor>;

/// An op of tensors of these shapes, its output and the gradients that a gradient of ones gives: all elements
/// have one value, unless there are none.
struct EmptyCase {
  const char* name;
  std::vector<Shape> inputs;
  std::function<Tensor(const Inputs&)> op;
  Shape output;
  double value = 0;
  std::vector<double> gradients = {};  // 0 where left out
};

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// The convolution of inputs x, weight, bias.
std::function<Tensor(const Inputs&)> convolution(ConvOptions options) {
  return [=](const Inputs& in) { return conv2d(in[0], in[1], in[2], options); };
}
Tensor apply_linear(const Inputs& in) { return linear(in[0], in[1], in[2]); }
std::function<Tensor(const Inputs&)> batch_normalization(bool training) {
  return [=](const Inputs& in) {
    const TensorOptions options = in[1].options();
    Tensor mean = full(in[1].shape(), 3, options), var = full(in[1].shape(), 4, options);
    const Tensor y = batch_norm(in[0], mean, var, in[1], in[2], training, 0.5);
    CHECK(close(mean, Array(to_array(mean).shape, 3)));
    CHECK(close(var, Array(to_array(var).shape, 4)));
    return y;
  };
}
std::function<Tensor(const Inputs&)> group_normalization(std::int64_t groups) {
  return [=](const Inputs& in) { return group_norm(in[0], groups, in[1], in[2]); };
}
Tensor layer_normalization(const Inputs& in) { return layer_norm(in[0], in[1].shape(), in[1], in[2]); }
Tensor channel_normalization(const Inputs& in) { return layer_norm2d(in[0], in[1], in[2]); }
template <auto OP>
std::function<Tensor(const Inputs&)> pooling(Size2d kernel, PoolOptions options = {}) {
  return [=](const Inputs& in) { return OP(in[0], kernel, options); };
}
template <auto LOSS>
std::function<Tensor(const Inputs&)> loss_of(Reduction reduction) {
  return [=](const Inputs& in) {
    return LOSS(in[0], zeros({in[0].size(0)}, {DType::i64, in[0].device()}), reduction);
  };
}

const EmptyCase kCases[] = {
    {"conv2d, no images", {{0, 2, 4, 4}, {3, 2, 3, 3}, {3}}, convolution({}), {0, 3, 2, 2}},
    {"conv2d, no channels", {{2, 0, 4, 4}, {3, 0, 3, 3}, {3}}, convolution({}), {2, 3, 2, 2}, 1, {0, 0, 8}},
    {"conv2d, no filters", {{2, 2, 4, 4}, {0, 2, 3, 3}, {0}}, convolution({}), {2, 0, 2, 2}},
    {"conv2d, no filters in groups",
     {{2, 4, 4, 4}, {0, 2, 1, 1}, {0}},
     convolution({.groups = 2}),
     {2, 0, 4, 4}},
    {"conv2d, no channels in groups",
     {{2, 0, 4, 4}, {4, 0, 3, 3}, {4}},
     convolution({.groups = 2}),
     {2, 4, 2, 2},
     1,
     {0, 0, 8}},
    {"conv2d, only padding",
     {{2, 2, 0, 4}, {3, 2, 3, 3}, {3}},
     convolution({.padding = 2}),
     {2, 3, 2, 6},
     1,
     {0, 0, 24}},
    {"linear, no inputs", {{3, 4, 0}, {5, 0}, {5}}, apply_linear, {3, 4, 5}, 1, {0, 0, 12}},
    {"linear, one row without inputs", {{0}, {5, 0}, {5}}, apply_linear, {5}, 1, {0, 0, 1}},
    {"linear, no rows", {{0, 4}, {5, 4}, {5}}, apply_linear, {0, 5}},
    {"linear, no outputs", {{3, 4}, {0, 4}, {0}}, apply_linear, {3, 0}},
    {"batch_norm in training, no images", {{0, 3, 4, 4}, {3}, {3}}, batch_normalization(true), {0, 3, 4, 4}},
    {"batch_norm, no images", {{0, 3, 4, 4}, {3}, {3}}, batch_normalization(false), {0, 3, 4, 4}},
    {"batch_norm in training, no pixels", {{2, 3, 0, 4}, {3}, {3}}, batch_normalization(true), {2, 3, 0, 4}},
    {"batch_norm, no channels", {{2, 0, 4, 4}, {0}, {0}}, batch_normalization(true), {2, 0, 4, 4}},
    {"batch_norm of rows, none", {{0, 3}, {3}, {3}}, batch_normalization(true), {0, 3}},
    {"group_norm, no images", {{0, 4, 3, 3}, {4}, {4}}, group_normalization(2), {0, 4, 3, 3}},
    {"group_norm, no pixels", {{2, 4, 0, 3}, {4}, {4}}, group_normalization(2), {2, 4, 0, 3}},
    {"group_norm, no channels", {{2, 0, 3, 3}, {0}, {0}}, group_normalization(2), {2, 0, 3, 3}},
    {"layer_norm, no rows", {{0, 3}, {3}, {3}}, layer_normalization, {0, 3}},
    {"layer_norm, no rows in an image", {{2, 0, 3}, {3}, {3}}, layer_normalization, {2, 0, 3}},
    {"layer_norm, empty rows", {{3, 0}, {0}, {0}}, layer_normalization, {3, 0}},
    {"layer_norm, empty images", {{2, 3, 0}, {3, 0}, {3, 0}}, layer_normalization, {2, 3, 0}},
    {"layer_norm, everything empty", {{0}, {0}, {0}}, layer_normalization, {0}},
    {"layer_norm2d, no images", {{0, 3, 2, 2}, {3}, {3}}, channel_normalization, {0, 3, 2, 2}},
    {"layer_norm2d, no channels", {{2, 0, 2, 2}, {0}, {0}}, channel_normalization, {2, 0, 2, 2}},
    {"layer_norm2d, no pixels", {{2, 3, 0, 2}, {3}, {3}}, channel_normalization, {2, 3, 0, 2}},
    {"relu", {{2, 0, 3}}, [](const Inputs& in) { return relu(in[0]); }, {2, 0, 3}},
    {"max_pool2d, no images", {{0, 2, 4, 4}}, pooling<max_pool2d>(2), {0, 2, 2, 2}},
    {"max_pool2d, no channels", {{2, 0, 4, 4}}, pooling<max_pool2d>(2), {2, 0, 2, 2}},
    {"avg_pool2d, no images", {{0, 2, 4, 4}}, pooling<avg_pool2d>(3, {.padding = 1}), {0, 2, 2, 2}},
    {"global_avg_pool2d, no images",
     {{0, 2, 4, 4}},
     [](const Inputs& in) { return global_avg_pool2d(in[0]); },
     {0, 2, 1, 1}},
    {"global_avg_pool2d, no pixels",
     {{2, 3, 0, 4}},
     [](const Inputs& in) { return global_avg_pool2d(in[0]); },
     {2, 3, 1, 1},
     kNaN},
    {"dropout",
     {{0, 3}},
     [](const Inputs& in) {
       return dropout(in[0], 0.5, {1, RandomPurpose::dropout, 1});
     },
     {0, 3}},
    {"log_softmax, no rows", {{0, 3}}, [](const Inputs& in) { return log_softmax(in[0]); }, {0, 3}},
    {"log_softmax, no classes", {{3, 0}}, [](const Inputs& in) { return log_softmax(in[0]); }, {3, 0}},
    {"log_softmax of columns", {{3, 0}}, [](const Inputs& in) { return log_softmax(in[0], 0); }, {3, 0}},
    {"nll_loss, mean", {{0, 3}}, loss_of<nll_loss>(Reduction::mean), {}, kNaN},
    {"nll_loss, sum", {{0, 3}}, loss_of<nll_loss>(Reduction::sum), {}},
    {"nll_loss, none", {{0, 3}}, loss_of<nll_loss>(Reduction::none), {0}},
    {"nll_loss, no classes", {{0, 0}}, loss_of<nll_loss>(Reduction::mean), {}, kNaN},
    {"cross_entropy, mean", {{0, 3}}, loss_of<cross_entropy>(Reduction::mean), {}, kNaN},
    {"cross_entropy, sum", {{0, 3}}, loss_of<cross_entropy>(Reduction::sum), {}},
    {"Flatten", {{0, 3, 4}}, [](const Inputs& in) { return nn::Flatten()(in[0]); }, {0, 12}},
};

void check_all_equal(const Tensor& x, double value) {
  for (double element : x.to_vector<double>()) {
    CHECK((std::isnan(value) ? std::isnan(element) : element == value));
  }
}

}  // namespace

TEST_CASE("ops on nothing give what PyTorch gives, and write all of every gradient") {
  for (const EmptyCase& c : kCases) {
    for_each_kind([&](TensorOptions options) {
      INFO(c.name);
      Inputs in;
      for (const Shape& shape : c.inputs) in.push_back(leaf(ones(shape, options)));
      const Tensor y = c.op(in);
      CHECK(y.shape() == c.output);
      check_all_equal(y, c.value);
      std::vector<Tensor> stale;  // whose memory the gradients then have
      for (const Tensor& x : in) stale.push_back(full(x.shape(), 777, options));
      stale.clear();
      y.backward(ones(y.shape(), options));
      for (std::size_t i = 0; i < in.size(); ++i) {
        INFO("input " << i);
        REQUIRE(in[i].grad().defined());
        CHECK(in[i].grad().shape() == c.inputs[i]);
        check_all_equal(in[i].grad(), i < c.gradients.size() ? c.gradients[i] : 0);
      }
    });
  }
}

TEST_CASE("images without pixels, and none of them") {
  for (Device device : devices()) {
    const Tensor images = zeros({3, 0, 5}, {DType::u8, device}), index = zeros({2}, {DType::i64, device});
    CHECK(rotate_normalize(images, index, {}, 0, 1).shape() == Shape{2, 1, 0, 5});
    const ImageSource source{images, full({3}, 7, {DType::i64, device}), {}, 0, 1};
    const auto [batch, labels] = take_batch(source, index, {}, 2);
    CHECK(batch.shape() == Shape{2, 1, 0, 5});
    CHECK(labels.to_vector<std::int64_t>() == std::vector<std::int64_t>{7, 7});
    const auto [none, no_labels] = take_batch(source, index, {}, 0);
    CHECK(none.shape() == Shape{0, 1, 0, 5});
    CHECK(no_labels.shape() == Shape{0});
    Tensor totals = ones({2}, {DType::f64, device});
    const Tensor nothing = zeros({0, 3}, {DType::f32, device}), no_target = zeros({0}, {DType::i64, device});
    add_classification_totals(totals, nothing, no_target, nll_loss(nothing, no_target));
    CHECK(totals.to_vector<double>() == std::vector<double>{1, 1});
  }
}

TEST_CASE("sizes that 64 bits do not hold are refused, large ones that lead nowhere are not") {
  constexpr std::int64_t large = std::int64_t{1} << 62;
  const Tensor image = ones({1, 1, 8, 8}), filter = ones({1, 1, 5, 5});
  CHECK(mentions(error_of([&] { conv2d(image, filter, {}, {.dilation = large}); }), {"conv2d", "64 bits"}));
  CHECK(mentions(error_of([&] { conv2d(image, filter, {}, {.padding = large}); }), {"conv2d", "64 bits"}));
  CHECK(
      mentions(error_of([&] { conv2d(image, filter, {}, {.dilation = large / 8}); }), {"conv2d", "larger"}));
  CHECK(mentions(error_of([&] { conv2d(image, filter, {}, {.groups = large}); }), {"conv2d", "groups"}));
  CHECK(mentions(error_of([&] { max_pool2d(image, large, {.padding = large}); }), {"max_pool2d", "half"}));
  error_of([&] { conv2d(image, filter, {}, {.padding = large / 4}); });  // more pixels than there is memory
  for_each_kind([&](TensorOptions options) {
    const Tensor x = ones({1, 1, 8, 8}, options), w = ones({1, 1, 5, 5}, options);
    CHECK(conv2d(x, w, {}, {.stride = INT64_MAX}).item() == 25);
    CHECK(avg_pool2d(x, 2, {.stride = INT64_MAX}).item() == 1);
    // Windows far apart, of which one in the middle meets the image.
    for (std::int64_t stride : {30000, 1 << 20}) {
      Tensor images = leaf(ones({2, 1, 8, 8}, options)), filters = leaf(ones({4, 1, 1, 1}, options));
      const Tensor apart = conv2d(images, filters, {}, {.stride = stride, .padding = stride});
      CHECK(apart.shape() == Shape{2, 4, 3, 3});
      CHECK(sum(apart).item() == 8);
      apart.backward(ones(apart.shape(), options));
      CHECK(sum(images.grad()).item() == 8);
      CHECK(filters.grad().to_vector<double>() == std::vector<double>{2, 2, 2, 2});
    }
    // The middle tap meets the image, the others padding.
    Tensor far = leaf(ones({1, 1, 3, 3}, options));
    const Tensor y = conv2d(x, far, {}, {.padding = large / 8, .dilation = large / 8});
    CHECK(y.shape() == Shape{1, 1, 8, 8});
    check_all_equal(y, 1);
    y.backward(ones(y.shape(), options));
    CHECK(far.grad().to_vector<double>() == std::vector<double>{0, 0, 0, 0, 64, 0, 0, 0, 0});
  });
}
