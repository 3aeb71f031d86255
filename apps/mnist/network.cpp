#include "evenkeel/apps/mnist/network.h"

#include "evenkeel/apps/mnist/network_shapes.h"
#include "evenkeel/nn/layers.h"

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

/// The last block with a norm.
constexpr int kLastNormalised = [] {
  int last = 0;
  for (int i = 0; i < kMnistBlocks; ++i) {
    if (kMnistNet[i].activated) last = i;
  }
  return last;
}();

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
  for (int i = 0; i < kMnistBlocks; ++i) {
    const MnistBlock& b = kMnistNet[i];
    net.push_back(Conv2d(b.C, b.K, b.R, {.bias = false}));
    const bool is_last = i == kLastNormalised;
    const Norm of_block = is_last && place == NormPlace::not_last ? Norm::none : norm;
    const bool norm_first = b.is_norm_first(norm == Norm::bn) || place == NormPlace::before_relu;
    if (b.activated && norm_first) add_norm(net, of_block, groups, b.K, b.output());
    if (b.activated) net.push_back(ReLU());
    if (b.activated && !norm_first) add_norm(net, of_block, groups, b.K, b.output());
    if (b.pool == ChainPool::max) net.push_back(MaxPool2d(b.window));
    if (b.pool == ChainPool::average) net.push_back(AvgPool2d(b.window));
    if (b.dropout) net.push_back(Dropout(kMnistDropout));
  }
  net.push_back(Flatten());
  net.push_back(LogSoftmax());
  return net;
}

}  // namespace evenkeel::models
