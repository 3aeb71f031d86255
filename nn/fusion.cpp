#include "evenkeel/nn/fusion.h"

#include <algorithm>
#include <typeinfo>
#include <utility>

#include "evenkeel/core/dispatch.h"
#include "evenkeel/core/overlap.h"
#include "evenkeel/nn/functional/fused_block_sizes.h"
#include "evenkeel/nn/layers.h"

namespace evenkeel {
namespace {

thread_local bool t_fusion_enabled = true;

/// More weights would be read too often, once an image.
constexpr std::int64_t kMostWeights = 8192;

bool same_kind(const Tensor& x, const Tensor& other) {
  return !other.defined() || (other.dtype() == x.dtype() && other.device() == x.device());
}

/// True if the parameters and buffers fit z [C, H, W].
bool norm_fits(const FusedBlock& b, std::int64_t C, std::int64_t H, std::int64_t W) {
  Shape parameter{C};
  if (b.norm == NormPartition::rows) {
    const Shape z{C, H, W};
    const int kept = 3 - b.normalized_shape.rank();
    if (kept < 0 || !std::equal(b.normalized_shape.begin(), b.normalized_shape.end(), z.begin() + kept))
      return false;
    parameter = b.normalized_shape;
  }
  if (b.norm == NormPartition::group && C % b.groups != 0) return false;
  for (const Tensor* t : {&b.gamma, &b.beta}) {
    if (t->defined() && t->shape() != parameter) return false;
  }
  for (const Tensor* t : {&b.running_mean, &b.running_var}) {
    if (t->defined() && t->shape() != Shape{C}) return false;
  }
  return true;
}

/// True if every kernel of the blocks has room.
template <typename T>
bool kernels_fit(const Tensor& x, const std::vector<FusedBlock>& blocks) {
  if constexpr (kCudaEnabled) {
    using namespace functional;
    current_stream(x.device().index);  // makes the device the current one
    std::vector<FusedSizes> sizes = fused_sizes(x.shape(), blocks);
    if (has_epilogue(blocks.back())) sizes.push_back(sizes_after(sizes.back(), blocks.back()));
    const std::int64_t N = x.size(0);
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      auto forward = fused_args<FusedForwardArgs<T>>(N, sizes[i]);
      auto backward = fused_args<FusedBackwardArgs<T>>(N, sizes[i]);
      if (i > 0)
        forward.before = backward.before = epilogue_without_memory<T>(blocks[i - 1], N, sizes[i - 1]);
      if (i < blocks.size())
        forward.after = backward.after = epilogue_without_memory<T>(blocks[i], N, sizes[i]);
      if (!cuda::fused_block_fits(forward, backward)) return false;
    }
    return true;
  }
  return false;
}

/// True if the kernels can update a block's running statistics where they lie.
bool statistics_fit(const FusedBlock& b) {
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

bool can_fuse(const Tensor& x, const std::vector<FusedBlock>& blocks) {
  if constexpr (!kCudaEnabled) return false;
  if (blocks.empty() || !x.device().is_cuda() || x.rank() != 4 || x.size(0) == 0) return false;
  if (x.dtype() != DType::f32 && x.dtype() != DType::f64) return false;
  std::int64_t C = x.size(1), H = x.size(2), W = x.size(3);
  for (const FusedBlock& b : blocks) {
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
    if (b.norm == NormPartition::batch && b.training && x.size(0) * P * Q < 2) return false;
    C = K;
    H = P / b.window;
    W = Q / b.window;
  }
  return dispatch_floating(x.dtype(), [&]<typename T>() { return kernels_fit<T>(x, blocks); });
}

namespace nn {
namespace {

/// The module as a Layer; null for a class that derives from Layer.
template <typename Layer>
const Layer* exactly(const Module& module) {
  return typeid(module) == typeid(Layer) ? static_cast<const Layer*>(&module) : nullptr;
}

/// Puts layers into blocks, one after another.
class BlockBuilder {
 public:
  /// False, and nothing has changed, if the layer has no place in a block after those before it.
  bool add(const Module& layer) {
    if (const auto* conv = exactly<Conv2d>(layer)) return add_convolution(*conv);
    if (exactly<ReLU>(layer)) return add_relu();
    if (const auto* norm = exactly<BatchNorm2d>(layer)) return add_norm(*norm);
    if (const auto* norm = exactly<GroupNorm>(layer)) return add_norm(*norm);
    if (const auto* norm = exactly<InstanceNorm2d>(layer)) {
      return !blocks_.empty() && blocks_.back().weight.size(0) == norm->channels() && add_norm(*norm);
    }
    if (const auto* norm = exactly<LayerNorm>(layer)) return add_norm(*norm);
    if (const auto* norm = exactly<LayerNorm2d>(layer)) return add_norm(*norm);
    if (const auto* pool = exactly<MaxPool2d>(layer)) return add_pool(FusedPool::max, *pool);
    if (const auto* pool = exactly<AvgPool2d>(layer)) return add_pool(FusedPool::average, *pool);
    if (const auto* dropout = exactly<Dropout>(layer)) return !dropout->is_active() || add_dropout(*dropout);
    return exactly<Identity>(layer) != nullptr;
  }

  std::vector<FusedBlock>& blocks() { return blocks_; }
  /// The keys of all masks, in the order of the layers.
  void draw_keys() {
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      if (dropouts_[i] != nullptr) blocks_[i].key = dropouts_[i]->draw_key();
    }
  }

 private:
  enum class Place { convolution, relu_first, norm, relu, pool, dropout };
  /// Moves on to `place` if it comes later than where the last block has got to.
  bool reach(Place place) {
    if (blocks_.empty() || place_ >= place) return false;
    place_ = place;
    return true;
  }

  bool add_convolution(const Conv2d& conv) {
    const Tensor& weight = conv.weight();
    const ConvOptions& o = conv.options();
    const std::int64_t R = weight.size(2);
    const bool plain =
        o.stride == Size2d(1) && o.dilation == Size2d(1) && o.groups == 1 && !conv.bias().defined();
    const bool square = R == weight.size(3) && (R == 1 || R == 3);
    if (!plain || !square || o.padding.h != o.padding.w || o.padding.h >= R || weight.numel() > kMostWeights)
      return false;
    FusedBlock block;
    block.weight = weight;
    block.padding = o.padding.h;
    blocks_.push_back(std::move(block));
    dropouts_.push_back(nullptr);
    place_ = Place::convolution;
    return true;
  }

  bool add_relu() {
    if (reach(Place::relu_first)) return blocks_.back().relu_first = true;
    if (place_ == Place::relu_first || place_ == Place::relu) return true;  // twice is once
    return reach(Place::relu) && (blocks_.back().relu = true);
  }

  template <typename Layer>
  bool add_norm(const Layer& layer) {
    if (!reach(Place::norm)) return false;
    FusedBlock& block = blocks_.back();
    block.gamma = layer.gamma();
    block.beta = layer.beta();
    set_norm(block, layer);
    return true;
  }
  static void set_norm(FusedBlock& block, const BatchNorm2d& layer) {
    block.norm = NormPartition::batch;
    block.running_mean = layer.running_mean();
    block.running_var = layer.running_var();
    block.batches_tracked = layer.num_batches_tracked();
    block.training = layer.uses_batch_statistics();
    block.eps = layer.options().eps;
    block.momentum = layer.options().momentum;
  }
  static void set_norm(FusedBlock& block, const GroupNorm& layer) {
    block.norm = NormPartition::group;
    block.groups = layer.groups();
    block.eps = layer.eps();
  }
  static void set_norm(FusedBlock& block, const InstanceNorm2d& layer) {
    block.norm = NormPartition::group;
    block.groups = layer.channels();
    block.eps = layer.eps();
  }
  static void set_norm(FusedBlock& block, const LayerNorm& layer) {
    block.norm = NormPartition::rows;
    block.normalized_shape = layer.normalized_shape();
    block.eps = layer.eps();
  }
  static void set_norm(FusedBlock& block, const LayerNorm2d& layer) {
    block.norm = NormPartition::pixels;
    block.eps = layer.eps();
  }

  template <typename Layer>
  bool add_pool(FusedPool pool, const Layer& layer) {
    const Size2d kernel = layer.kernel();
    const PoolOptions& o = layer.options();
    const bool plain =
        kernel.h == kernel.w && (o.stride == Size2d(0) || o.stride == kernel) && o.padding == Size2d(0);
    const bool with_norm = !blocks_.empty() && blocks_.back().norm != NormPartition::none;
    if (!plain || (pool == FusedPool::max && with_norm) || !reach(Place::pool)) return false;
    blocks_.back().pool = pool;
    blocks_.back().window = kernel.h;
    return true;
  }

  bool add_dropout(const Dropout& layer) {
    if (!reach(Place::dropout)) return false;
    blocks_.back().p = layer.p();
    dropouts_.back() = &layer;
    return true;
  }

  std::vector<FusedBlock> blocks_;
  std::vector<const Dropout*> dropouts_;  // of each block; null: it has none that is active
  Place place_ = Place::convolution;      // of the last layer in the last block
};

/// Adds layers first, first + 1, ... as far as they have a place; returns the first that has none.
std::size_t add_layers(const Sequential& net, std::size_t first, BlockBuilder& builder) {
  while (first < net.size() && builder.add(net[first])) ++first;
  return first;
}

std::size_t forward_blocks(const Sequential& net, std::size_t first, Tensor& y) {
  if (!fusion_enabled()) return first;
  // A convolution right after a ReLU that ran alone begins no block: its results have conv2d's bits.
  if (first > 0 && exactly<ReLU>(net[first - 1])) return first;
  BlockBuilder builder;
  const std::size_t end = add_layers(net, first, builder);
  if (end < first + 2 || !can_fuse(y, builder.blocks())) return first;  // one convolution alone is conv2d's
  builder.draw_keys();
  y = fused_blocks(y, builder.blocks());
  return end;
}

std::size_t forward_relu_and_norm(const Sequential& net, std::size_t first, Tensor& y) {
  if (first + 1 >= net.size() || !exactly<ReLU>(net[first])) return first;
  if (const auto* norm = exactly<GroupNorm>(net[first + 1])) {
    y = group_norm(y, norm->groups(), norm->gamma(), norm->beta(), norm->eps(), /*relu_first=*/true);
  } else if (const auto* rows = exactly<LayerNorm>(net[first + 1])) {
    y = layer_norm(y, rows->normalized_shape(), rows->gamma(), rows->beta(), rows->eps(),
                   /*relu_first=*/true);
  } else {
    return first;
  }
  return first + 2;
}

}  // namespace

FoundBlocks find_blocks(const Sequential& net, std::size_t first) {
  BlockBuilder builder;
  const std::size_t end = add_layers(net, first, builder);
  return {std::move(builder.blocks()), end};
}

std::size_t forward_fused(const Sequential& net, std::size_t first, Tensor& y) {
  if (y.device().is_cuda()) return forward_blocks(net, first, y);
  if (y.format() == MemoryFormat::lanes) return forward_relu_and_norm(net, first, y);
  return first;
}

}  // namespace nn
}  // namespace evenkeel
