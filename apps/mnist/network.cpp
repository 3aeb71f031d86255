#include "evenkeel/apps/mnist/network.h"

#include "evenkeel/nn/layers.h"

namespace evenkeel::mnist {
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

BlockNorms norms_of_recipe(Norm norm) {
  BlockNorms norms;
  for (int i = 0; i < kBlocks; ++i) {
    if (kNetwork[i].activated) norms[i] = {norm, kNetwork[i].is_norm_first(norm == Norm::bn)};
  }
  return norms;
}

nn::Sequential network(Norm norm, std::int64_t groups, Generator* generator) {
  return network(norms_of_recipe(norm), groups, generator);
}

nn::Sequential network(const BlockNorms& norms, std::int64_t groups, Generator* generator) {
  Sequential net;
  for (int i = 0; i < kBlocks; ++i) {
    const BlockShape& b = kNetwork[i];
    const auto [norm, before_relu] = norms[i];
    net.push_back(Conv2d(b.C, b.K, b.R, {.bias = false, .generator = generator}));
    if (b.activated && before_relu) add_norm(net, norm, groups, b.K, b.output());
    if (b.activated) net.push_back(ReLU());
    if (b.activated && !before_relu) add_norm(net, norm, groups, b.K, b.output());
    if (b.pool == FusedPool::max) net.push_back(MaxPool2d(b.window));
    if (b.pool == FusedPool::average) net.push_back(AvgPool2d(b.window));
    if (b.dropout) net.push_back(Dropout(kDropout));
  }
  net.push_back(Flatten());
  net.push_back(LogSoftmax());
  net.set_generator(generator);
  return net;
}

}  // namespace evenkeel::mnist
