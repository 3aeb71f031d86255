#include "evenkeel/nn/conv_chain.h"

#include <utility>

#include "evenkeel/core/overlap.h"
#include "evenkeel/nn/functional/chain_sizes.h"

namespace evenkeel {
namespace {

thread_local bool t_fusion_enabled = true;

/// More weights would be read too often, once an image.
constexpr std::int64_t kMostWeights = 8192;

bool same_kind(const Tensor& x, const Tensor& other) {
  return !other.defined() || (other.dtype() == x.dtype() && other.device() == x.device());
}

/// True if the parameters and buffers fit z [C, H, W].
bool norm_fits(const ConvBlock& b, std::int64_t C, std::int64_t H, std::int64_t W) {
  Shape parameter{C};
  if (b.norm == ChainNorm::rows) {
    const Shape z{C, H, W};
    const int kept = 3 - b.normalized_shape.rank();
    if (kept < 0 || !std::equal(b.normalized_shape.begin(), b.normalized_shape.end(), z.begin() + kept))
      return false;
    parameter = b.normalized_shape;
  }
  if (b.norm == ChainNorm::group && C % b.groups != 0) return false;
  for (const Tensor* t : {&b.gamma, &b.beta}) {
    if (t->defined() && t->shape() != parameter) return false;
  }
  for (const Tensor* t : {&b.running_mean, &b.running_var}) {
    if (t->defined() && t->shape() != Shape{C}) return false;
  }
  return true;
}

/// True if every kernel of the chain has room.
template <typename T>
bool kernels_fit(const Tensor& x, const std::vector<ConvBlock>& blocks) {
  if constexpr (kCudaEnabled) {
    using namespace functional;
    current_stream(x.device().index);  // makes the device the current one
    std::vector<ChainSizes> sizes = chain_sizes(x.shape(), blocks);
    if (has_tail(blocks.back())) sizes.push_back(sizes_after(sizes.back(), blocks.back()));
    const std::int64_t N = x.size(0);
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      auto forward = chain_args<ChainForwardArgs<T>>(N, sizes[i]);
      auto backward = chain_args<ChainBackwardArgs<T>>(N, sizes[i]);
      if (i > 0) forward.before = backward.before = tail_without_memory<T>(blocks[i - 1], N, sizes[i - 1]);
      if (i < blocks.size()) forward.after = backward.after = tail_without_memory<T>(blocks[i], N, sizes[i]);
      if (!cuda::chain_fits(forward, backward)) return false;
    }
    return true;
  }
  return false;
}

/// True if the kernels can update a block's running statistics where they lie.
bool statistics_fit(const ConvBlock& b) {
  for (const Tensor* t : {&b.running_mean, &b.running_var, &b.batches_tracked}) {
    if (t->defined() && !is_dense(*t)) return false;
    for (const Tensor* read : {&b.weight, &b.gamma, &b.beta}) {
      if (share_memory(*t, *read)) return false;
    }
  }
  return !share_memory(b.running_mean, b.running_var);
}

}  // namespace

NoFusion::NoFusion() : before_(std::exchange(t_fusion_enabled, false)) {}
NoFusion::~NoFusion() { t_fusion_enabled = before_; }
bool fusion_enabled() { return t_fusion_enabled; }

bool ConvChain::reach(Place place) {
  if (blocks_.empty() || place_ >= place) return false;
  place_ = place;
  return true;
}

bool ConvChain::add_conv2d(const Tensor& weight, const Tensor& bias, const ConvOptions& o) {
  const std::int64_t R = weight.size(2);
  const bool plain = o.stride == Size2d(1) && o.dilation == Size2d(1) && o.groups == 1 && !bias.defined();
  const bool square = R == weight.size(3) && (R == 1 || R == 3);
  if (!plain || !square || o.padding.h != o.padding.w || o.padding.h >= R || weight.numel() > kMostWeights)
    return false;
  ConvBlock block;
  block.weight = weight;
  block.padding = o.padding.h;
  blocks_.push_back(std::move(block));
  place_ = Place::conv;
  return true;
}

bool ConvChain::add_relu() {
  if (reach(Place::relu_first)) return blocks_.back().relu_first = true;
  if (place_ == Place::relu_first || place_ == Place::relu) return true;  // twice is once
  return reach(Place::relu) && (blocks_.back().relu = true);
}

bool ConvChain::add_norm(const ConvBlock& norm) {
  if (!reach(Place::norm)) return false;
  ConvBlock& block = blocks_.back();
  const ConvBlock convolution = std::exchange(block, norm);
  block.weight = convolution.weight;
  block.padding = convolution.padding;
  block.relu_first = convolution.relu_first;
  return true;
}

bool ConvChain::add_pool(ChainPool pool, Size2d kernel, const PoolOptions& o) {
  const bool plain =
      kernel.h == kernel.w && (o.stride == Size2d(0) || o.stride == kernel) && o.padding == Size2d(0);
  const bool with_norm = !blocks_.empty() && blocks_.back().norm != ChainNorm::none;
  if (!plain || (pool == ChainPool::max && with_norm) || !reach(Place::pool)) return false;
  blocks_.back().pool = pool;
  blocks_.back().window = kernel.h;
  return true;
}

bool ConvChain::add_dropout(double p) {
  if (!reach(Place::dropout)) return false;
  blocks_.back().p = p;
  return true;
}

bool ConvChain::takes(const Tensor& x) const {
  if constexpr (!kCudaEnabled) return false;
  if (blocks_.empty() || !x.device().is_cuda() || x.rank() != 4 || x.size(0) == 0) return false;
  if (x.dtype() != DType::f32 && x.dtype() != DType::f64) return false;
  std::int64_t C = x.size(1), H = x.size(2), W = x.size(3);
  for (const ConvBlock& b : blocks_) {
    const std::int64_t K = b.weight.size(0), R = b.weight.size(2), pad = b.padding;
    for (const Tensor* t : {&b.weight, &b.gamma, &b.beta, &b.running_mean, &b.running_var}) {
      if (!same_kind(x, *t)) return false;
    }
    if (!statistics_fit(b)) return false;
    const std::int64_t P = H + 2 * pad - R + 1, Q = W + 2 * pad - R + 1;
    constexpr std::int64_t kLongest = 1024;  // so that sizes and their products have 32 bits
    if (b.weight.size(1) != C || C < 1 || H < 1 || W < 1 || P < 1 || Q < 1 || H > kLongest || W > kLongest ||
        H * W * std::max(C, K) > kLongest * kLongest)
      return false;
    if (!norm_fits(b, K, P, Q) || P < b.window || Q < b.window) return false;
    if (b.norm == ChainNorm::batch && b.training && x.size(0) * P * Q < 2) return false;
    C = K;
    H = P / b.window;
    W = Q / b.window;
  }
  return dispatch_floating(x.dtype(), [&]<typename T>() { return kernels_fit<T>(x, blocks_); });
}

void ConvChain::draw_keys(Generator& generator) {
  for (ConvBlock& b : blocks_) {
    if (b.p > 0) b.key = generator.next(RandomPurpose::dropout);
  }
}

}  // namespace evenkeel
