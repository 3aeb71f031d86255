#include "evenkeel/nn/fusion.h"

#include <cxxabi.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <typeinfo>
#include <utility>

#include "evenkeel/core/autograd.h"
#include "evenkeel/core/dispatch.h"
#include "evenkeel/core/overlap.h"
#include "evenkeel/nn/functional/fused_block_sizes.h"
#include "evenkeel/nn/functional/units.h"
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
bool statistics_fit(const Tensor& x, const FusedBlock& b) {
  for (const Tensor* t : {&b.running_mean, &b.running_var, &b.batches_tracked}) {
    if (t->defined() && !t->is_contiguous()) return false;
    for (const Tensor* read : {&x, &b.weight, &b.bias, &b.gamma, &b.beta}) {
      if (share_memory(*t, *read)) return false;
    }
  }
  return !share_memory(b.running_mean, b.running_var);
}

}  // namespace

NoFusion::NoFusion() : before_(std::exchange(t_fusion_enabled, false)) {}
NoFusion::~NoFusion() { t_fusion_enabled = before_; }
bool fusion_enabled() { return t_fusion_enabled; }

namespace {

constexpr std::int64_t kLongest = 1024;  // so that sizes and their products have 32 bits

/// True if the parameters, buffers and pool of the block fit its z [C, H, W] of N images.
bool epilogue_fits(const Tensor& x, const FusedBlock& b, std::int64_t C, std::int64_t H, std::int64_t W) {
  for (const Tensor* t : {&b.weight, &b.bias, &b.gamma, &b.beta, &b.running_mean, &b.running_var}) {
    if (!same_kind(x, *t)) return false;
  }
  if (!statistics_fit(x, b) || !norm_fits(b, C, H, W) || H < b.window || W < b.window) return false;
  return b.norm != NormPartition::batch || !b.training || x.size(0) * H * W >= 2;
}

bool all_fusable_on_cuda(const Tensor& x, const std::vector<FusedBlock>& blocks) {
  if constexpr (!kCudaEnabled) return false;
  std::int64_t C = x.size(1), H = x.size(2), W = x.size(3);
  for (const FusedBlock& b : blocks) {
    if (!b.weight.defined() || b.bias.defined()) return false;
    const std::int64_t K = b.weight.size(0), R = b.weight.size(2), pad = b.conv.padding.h;
    const std::int64_t P = H + 2 * pad - R + 1, Q = W + 2 * pad - R + 1;
    if (b.weight.size(1) != C || C < 1 || H < 1 || W < 1 || P < 1 || Q < 1 || H > kLongest || W > kLongest ||
        H * W * std::max(C, K) > kLongest * kLongest)
      return false;
    if (!epilogue_fits(x, b, K, P, Q)) return false;
    C = K;
    H = P / b.window;
    W = Q / b.window;
  }
  return dispatch_floating(x.dtype(), [&]<typename T>() { return kernels_fit<T>(x, blocks); });
}

std::size_t fusable_on_cpu(const Tensor& x, const std::vector<FusedBlock>& blocks) {
  using namespace functional;
  Shape shape = x.shape();
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const FusedBlock& b = blocks[i];
    const auto in_bounds = [](std::int64_t C, std::int64_t H, std::int64_t W) {
      return C >= 1 && H >= 1 && W >= 1 && H <= kLongest && W <= kLongest && C * H * W <= kLongest * kLongest;
    };
    if (!in_bounds(shape[1], shape[2], shape[3])) return i;
    const std::optional<Conv2dSizes> s = run_sizes(shape, b);
    if (!s || !in_bounds(s->K, s->P, s->Q) || !epilogue_fits(x, b, s->K, s->P, s->Q)) return i;
    const bool direct =
        dispatch_floating(x.dtype(), [&]<typename T>() { return cpu::conv2d_is_direct<T>(*s); });
    if (b.weight.defined() && !direct) return i;
    shape = output_of(*s, b);
  }
  return blocks.size();
}

}  // namespace

bool is_fused_pool(FusedPool pool, Size2d kernel, const PoolOptions& o) {
  const std::int64_t largest = pool == FusedPool::max ? 11 : kLongest;  // taps are numbers up to 127
  return kernel.h == kernel.w && kernel.h >= 1 && kernel.h <= largest &&
         (o.stride == Size2d(0) || o.stride == kernel) && o.padding == Size2d(0);
}

std::size_t fusable(const Tensor& x, const std::vector<FusedBlock>& blocks) {
  if (blocks.empty() || x.rank() != 4 || x.numel() == 0) return 0;
  if (x.dtype() != DType::f32 && x.dtype() != DType::f64) return 0;
  if (x.device().is_cpu()) return fusable_on_cpu(x, blocks);
  return all_fusable_on_cuda(x, blocks) ? blocks.size() : 0;
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
  /// `any`: blocks as the CPU has them, else as CUDA devices have. Room for `blocks` of them.
  BlockBuilder(bool any, std::size_t blocks) : any_(any) { blocks_.reserve(blocks); }

  /// False, and nothing has changed, if the layer has no place in a block.
  bool add(const Module& layer) {
    if (!find_place(layer)) return false;
    ++layers_;
    ends_.resize(blocks_.size(), layers_);
    if (!ends_.empty()) ends_.back() = layers_;
    return true;
  }

  std::vector<FusedBlock>& blocks() { return blocks_; }
  std::size_t layers() const { return layers_; }
  /// Keeps the first n blocks; returns how many layers they are.
  std::size_t keep(std::size_t n) {
    blocks_.resize(n);
    dropouts_.resize(n);
    return n > 0 ? ends_[n - 1] : 0;
  }
  /// The keys of all masks, in the order of the layers.
  void draw_keys() {
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      if (dropouts_[i] != nullptr) blocks_[i].key = dropouts_[i]->draw_key();
    }
  }

 private:
  enum class Place { convolution, relu_first, norm, relu, pool, dropout };

  bool find_place(const Module& layer) {
    if (const auto* conv = exactly<Conv2d>(layer)) return add_convolution(*conv);
    if (exactly<ReLU>(layer)) return add_relu();
    if (const auto* norm = exactly<BatchNorm2d>(layer)) return add_norm(*norm);
    if (const auto* norm = exactly<GroupNorm>(layer)) return add_norm(*norm);
    if (const auto* norm = exactly<InstanceNorm2d>(layer)) {
      return !blocks_.empty() && channels() == norm->channels() && add_norm(*norm);
    }
    if (const auto* norm = exactly<LayerNorm>(layer)) return add_norm(*norm);
    if (const auto* norm = exactly<LayerNorm2d>(layer)) return add_norm(*norm);
    if (const auto* pool = exactly<MaxPool2d>(layer)) return add_pool(FusedPool::max, *pool);
    if (const auto* pool = exactly<AvgPool2d>(layer)) return add_pool(FusedPool::average, *pool);
    if (const auto* dropout = exactly<Dropout>(layer)) return !dropout->is_active() || add_dropout(*dropout);
    return exactly<Identity>(layer) != nullptr;
  }

  /// Of the last block's z, as far as convolutions say it; else -1.
  std::int64_t channels() const {
    for (std::size_t i = blocks_.size(); i-- > 0;) {
      if (blocks_[i].weight.defined()) return blocks_[i].weight.size(0);
    }
    return -1;
  }

  /// Moves on to `place` in the last block, if it comes later than where that has got to, else in a new block
  /// without a convolution, where there is one.
  bool reach(Place place) {
    if (blocks_.empty() || place_ >= place) {
      if (!any_) return false;
      begin_block({});
    }
    place_ = place;
    return true;
  }

  void begin_block(FusedBlock block) {
    blocks_.push_back(std::move(block));
    dropouts_.push_back(nullptr);
    place_ = Place::convolution;
  }

  bool add_convolution(const Conv2d& conv) {
    const Tensor& weight = conv.weight();
    const ConvOptions& o = conv.options();
    const std::int64_t R = weight.size(2);
    const bool plain =
        o.stride == Size2d(1) && o.dilation == Size2d(1) && o.groups == 1 && !conv.bias().defined();
    const bool square = R == weight.size(3) && (R == 1 || R == 3);
    if (!any_ && (!plain || !square || o.padding.h != o.padding.w || o.padding.h >= R ||
                  weight.numel() > kMostWeights))
      return false;
    FusedBlock block;
    block.weight = weight;
    block.bias = conv.bias();
    block.conv = o;
    begin_block(std::move(block));
    return true;
  }

  bool add_relu() {
    const bool again = !blocks_.empty() && (place_ == Place::relu_first || place_ == Place::relu);
    if (again) return true;  // twice is once
    const bool first = blocks_.empty() || place_ < Place::relu_first || place_ > Place::relu;
    if (!reach(first ? Place::relu_first : Place::relu)) return false;
    (first ? blocks_.back().relu_first : blocks_.back().relu) = true;
    return true;
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
    const bool plain = is_fused_pool(pool, kernel, layer.options());
    const bool after_norm = !blocks_.empty() && blocks_.back().norm != NormPartition::none;
    if (!plain || (!any_ && pool == FusedPool::max && after_norm) || !reach(Place::pool)) return false;
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

  bool any_;
  std::vector<FusedBlock> blocks_;
  std::vector<const Dropout*> dropouts_;  // of each block; null: it has none that is active
  Place place_ = Place::convolution;      // of the last layer in the last block
  std::size_t layers_ = 0;
  std::vector<std::size_t> ends_;  // of each block: how many layers there are up to its end
};

/// Puts layers first, first + 1, ... into blocks as far as they have a place.
BlockBuilder blocks_from(const Sequential& net, Device device, std::size_t first) {
  std::size_t convolutions = 0;
  for (std::size_t i = first; i < net.size(); ++i) convolutions += exactly<Conv2d>(net[i]) != nullptr;
  BlockBuilder builder(device.is_cpu(), convolutions);
  while (first < net.size() && builder.add(net[first])) ++first;
  return builder;
}

bool has_convolution(const std::vector<FusedBlock>& blocks) {
  return std::any_of(blocks.begin(), blocks.end(), [](const FusedBlock& b) { return b.weight.defined(); });
}

}  // namespace

FoundBlocks find_blocks(const Sequential& net, Device device, std::size_t first) {
  BlockBuilder builder = blocks_from(net, device, first);
  return {std::move(builder.blocks()), first + builder.layers()};
}

namespace {

/// "Conv2d" for an nn::Conv2d, and a class of the user with its namespaces.
std::string name_of(const Module& module) {
  int status = 0;
  char* demangled = abi::__cxa_demangle(typeid(module).name(), nullptr, nullptr, &status);
  std::string name = status == 0 ? demangled : typeid(module).name();
  std::free(demangled);
  constexpr std::string_view kOurs = "evenkeel::nn::";
  return name.starts_with(kOurs) ? name.substr(kOurs.size()) : name;
}

}  // namespace

std::string summary(const Sequential& net, const Tensor& x) {
  const NoGrad guard;
  Sequential evaluated = net;  // its parameters and children are those of the net
  const EvaluationMode mode(evaluated);
  std::vector<std::string> lines;
  Tensor y = x;
  for (std::size_t first = 0; first < net.size();) {
    std::size_t end = forward_fused(evaluated, first, y);
    if (end == first) y = evaluated[end++].forward(y);
    std::vector<std::string> names;
    for (std::size_t i = first; i < end; ++i) names.push_back(name_of(net[i]));
    const std::string which = end - first > 1 ? fmt::format("layers {} to {} together", first, end - 1)
                                              : fmt::format("layer {} alone", first);
    lines.push_back(fmt::format("{}: {} -> {}", which, fmt::join(names, ", "), y.shape().str()));
    first = end;
  }
  return fmt::format("{}", fmt::join(lines, "\n"));
}

std::size_t forward_fused(const Sequential& net, std::size_t first, Tensor& y) {
  if (!fusion_enabled()) return first;
  const bool cpu = y.device().is_cpu();
  // On CUDA devices a convolution right after a ReLU that ran alone begins no block: its results have
  // conv2d's bits.
  if (!cpu && first > 0 && exactly<ReLU>(net[first - 1])) return first;
  BlockBuilder builder = blocks_from(net, y.device(), first);
  const std::size_t count = fusable(y, builder.blocks()), end = first + builder.keep(count);
  if (end < first + 2) return first;  // one layer alone is an op
  if (!has_convolution(builder.blocks()) && !functional::units_of(y).defined()) return first;
  builder.draw_keys();
  y = fused_blocks(y, builder.blocks());
  return end;
}

}  // namespace nn
}  // namespace evenkeel
