#include "nn/models.h"

#include "nn/layers.h"

namespace evenkeel::models {
namespace {

using namespace nn;

/// The norm after a convolution with `channels` outputs of size x size.
void add_norm(Sequential& net, Norm norm, std::int64_t groups, std::int64_t channels, std::int64_t size) {
  switch (norm) {
    case Norm::bn:
      return net.push_back(BatchNorm2d(channels));
    case Norm::gn:
      return net.push_back(GroupNorm(groups, channels));
    case Norm::ln:
      return net.push_back(LayerNorm({channels, size, size}));
    case Norm::ln_row:
      return net.push_back(LayerNorm({size}, {.affine = false}));
    case Norm::ln_c:
      return net.push_back(LayerNorm2d(channels));
    case Norm::in:
      return net.push_back(GroupNorm(channels, channels));
    case Norm::none:
      return net.push_back(Identity());
  }
}

}  // namespace

const std::vector<std::string_view>& norm_names() {
  static const std::vector<std::string_view> names{"bn", "gn", "ln", "ln-row", "ln-c", "in", "none"};
  return names;
}

Norm parse_norm(std::string_view name) {
  for (std::size_t i = 0; i < norm_names().size(); ++i) {
    if (norm_names()[i] == name) return static_cast<Norm>(i);
  }
  fail("unknown norm '{}': use one of {}", name, fmt::join(norm_names(), ", "));
}

std::string_view name_of(Norm norm) { return norm_names()[static_cast<std::size_t>(norm)]; }

nn::Sequential mnist_net(Norm norm, std::int64_t groups, NormPlace place) {
  Sequential net;
  const auto conv = [&](std::int64_t in, std::int64_t out, std::int64_t kernel) {
    net.push_back(Conv2d(in, out, kernel, {.bias = false}));
  };
  // A 3x3 convolution, then norm and ReLU in either order.
  const auto block = [&](std::int64_t in, std::int64_t out, std::int64_t size, bool norm_first,
                         bool last = false) {
    const Norm of_block = last && place == NormPlace::not_last ? Norm::none : norm;
    conv(in, out, 3);
    if (norm_first) add_norm(net, of_block, groups, out, size);
    net.push_back(ReLU());
    if (!norm_first) add_norm(net, of_block, groups, out, size);
  };
  const bool norm_first = norm == Norm::bn || place == NormPlace::before_relu;
  block(1, 4, 26, norm_first);
  block(4, 8, 24, norm_first);
  conv(8, 16, 1);
  net.push_back(MaxPool2d(2));
  block(16, 16, 10, norm_first);
  net.push_back(Dropout(0.1));
  conv(16, 16, 1);
  block(16, 16, 8, true);
  net.push_back(Dropout(0.1));
  block(16, 16, 6, norm_first);
  block(16, 10, 4, norm_first, true);
  net.push_back(AvgPool2d(4));
  conv(10, 10, 1);
  net.push_back(Flatten());
  net.push_back(LogSoftmax());
  return net;
}

}  // namespace evenkeel::models
