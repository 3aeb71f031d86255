// How layers join a chain of convolutions. A class that derives from a layer may compute something else in
// its forward, so it joins none.
#include "evenkeel/nn/conv_chain.h"
#include "evenkeel/nn/layers.h"

namespace evenkeel::nn {

bool Conv2d::join(ConvChain& chain) const {
  return is_exactly<Conv2d>(*this) && chain.add_conv2d(weight_, bias_, options_);
}

bool ReLU::join(ConvChain& chain) const { return is_exactly<ReLU>(*this) && chain.add_relu(); }

bool BatchNorm2d::join(ConvChain& chain) const {
  if (!is_exactly<BatchNorm2d>(*this)) return false;
  ConvBlock norm;
  norm.norm = ChainNorm::batch;
  norm.gamma = weight_;
  norm.beta = bias_;
  norm.running_mean = running_mean_;
  norm.running_var = running_var_;
  norm.batches_tracked = num_batches_tracked_;
  norm.training = training() || !options_.track_running_stats;
  norm.eps = options_.eps;
  norm.momentum = options_.momentum;
  return chain.add_norm(norm);
}

bool GroupNorm::join(ConvChain& chain) const {
  if (!is_exactly<GroupNorm>(*this)) return false;
  ConvBlock norm;
  norm.norm = ChainNorm::group;
  norm.gamma = weight_;
  norm.beta = bias_;
  norm.groups = groups_;
  norm.eps = eps_;
  return chain.add_norm(norm);
}

bool LayerNorm::join(ConvChain& chain) const {
  if (!is_exactly<LayerNorm>(*this)) return false;
  ConvBlock norm;
  norm.norm = ChainNorm::rows;
  norm.gamma = weight_;
  norm.beta = bias_;
  norm.normalized_shape = normalized_shape_;
  norm.eps = eps_;
  return chain.add_norm(norm);
}

bool LayerNorm2d::join(ConvChain& chain) const {
  if (!is_exactly<LayerNorm2d>(*this)) return false;
  ConvBlock norm;
  norm.norm = ChainNorm::pixels;
  norm.gamma = weight_;
  norm.beta = bias_;
  norm.eps = eps_;
  return chain.add_norm(norm);
}

bool MaxPool2d::join(ConvChain& chain) const {
  return is_exactly<MaxPool2d>(*this) && chain.add_pool(ChainPool::max, kernel_, options_);
}

bool AvgPool2d::join(ConvChain& chain) const {
  return is_exactly<AvgPool2d>(*this) && chain.add_pool(ChainPool::average, kernel_, options_);
}

bool Identity::join(ConvChain&) const { return is_exactly<Identity>(*this); }

bool Dropout::join(ConvChain& chain) const {
  return is_exactly<Dropout>(*this) && (!training() || p_ == 0 || chain.add_dropout(p_));
}

}  // namespace evenkeel::nn
