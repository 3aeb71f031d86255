#include "evenkeel/nn/functional/common.h"
#include "evenkeel/nn/functional/fused_block_sizes.h"

namespace evenkeel {

using namespace functional;

namespace {

/// What a convolution leaves for backward.
struct Link {
  Saved weight, gamma, beta;
  Tensor z, statistics, moments;
  // Backward.
  Tensor dz, dnorm, channel_sums, weight_partials;

  explicit Link(const ConvBlock& b) : weight(dense(b.weight)), gamma(dense(b.gamma)), beta(dense(b.beta)) {}
};

/// A chain at work on x. Shared between its forward and its backward.
struct ChainRun {
  Tensor x;
  std::vector<ConvBlock> blocks;  // the tensors of parameters and buffers among them
  std::vector<ChainSizes> sizes;
  std::vector<Link> links;

  ChainRun(const Tensor& input, const std::vector<ConvBlock>& blocks_)
      : x(dense(input)), blocks(blocks_), sizes(chain_sizes(x.shape(), blocks)) {
    for (const ConvBlock& b : blocks) links.emplace_back(b);
  }
  std::int64_t N() const { return x.size(0); }
  std::size_t size() const { return blocks.size(); }
  bool ends_in_tail() const { return has_tail(blocks.back()); }

  /// What follows convolution i.
  template <typename T>
  ChainTail<T> tail(std::size_t i) {
    ConvBlock& b = blocks[i];
    Link& l = links[i];
    const auto statistics = [](Tensor& t) { return reinterpret_cast<ChainStatistics<T>*>(out<T>(t)); };
    ChainTail<T> t = tail_without_memory<T>(b, N(), sizes[i]);
    t.z = in<T>(l.z);
    t.gamma = in<T>(*l.gamma);
    t.beta = in<T>(*l.beta);
    t.statistics = statistics(l.statistics);
    t.moments = statistics(l.moments);
    t.dz = out<T>(l.dz);
    t.dnorm = out<T>(l.dnorm);
    t.channel_sums = out<T>(l.channel_sums);
    if (b.norm != ChainNorm::batch) return t;
    t.running_mean = out<T>(b.running_mean);
    t.running_var = out<T>(b.running_var);
    t.batches_tracked = out<std::int64_t>(b.batches_tracked);
    return t;
  }
};

/// z of every convolution, and the chain's output.
template <typename T>
Tensor forward(ChainRun& run) {
  const TensorOptions options = run.x.options();
  const std::int64_t N = run.N();
  for (std::size_t i = 0; i < run.size(); ++i) {
    const ChainSizes& s = run.sizes[i];
    Link& l = run.links[i];
    const ChainTail<T> after = tail_without_memory<T>(run.blocks[i], N, s);
    const bool batch = after.norm == ChainNorm::batch;
    l.z = empty({N, s.K, s.P, s.Q}, options);
    l.statistics = empty_if(after.sets > 0, {batch ? 1 : N, after.sets, 3}, options);
    l.moments = empty_if(batch && after.training, {N, after.sets, 3}, options);
    auto args = chain_args<ChainForwardArgs<T>>(N, s);
    args.z = out<T>(l.z);
    args.after = run.tail<T>(i);
    if (i == 0)
      args.input = in<T>(run.x);
    else
      args.before = run.tail<T>(i - 1);
    args.weight = in<T>(*l.weight);
    EK_DISPATCH_CUDA(run.x.device(), chain_forward, args);
  }
  if (!run.ends_in_tail()) return run.links.back().z.detach();  // the chain must not hold what holds it
  const ChainSizes s = sizes_after(run.sizes.back(), run.blocks.back());
  Tensor y = empty({N, s.K, s.H, s.W}, options);
  auto args = chain_args<ChainForwardArgs<T>>(N, s);
  args.z = out<T>(y);
  args.before = run.tail<T>(run.size() - 1);
  EK_DISPATCH_CUDA(run.x.device(), chain_forward, args);
  return y;
}

/// The memory that backward fills for convolution i and what follows it.
void allocate_gradients(ChainRun& run, std::size_t i) {
  const ConvBlock& b = run.blocks[i];
  const TensorOptions options = run.x.options();
  Link& l = run.links[i];
  const bool batch = b.norm == ChainNorm::batch, affine = b.gamma.defined() || b.beta.defined();
  const bool by_channel = b.norm == ChainNorm::group || b.norm == ChainNorm::pixels;
  const bool is_output = i + 1 == run.size() && !run.ends_in_tail();  // whose gradient is given
  l.dz = empty_if(!batch && !is_output, l.z.shape(), options);
  l.dnorm = empty_if(batch || (b.norm == ChainNorm::rows && affine), l.z.shape(), options);
  l.channel_sums = empty_if(batch || (by_channel && affine), {run.N(), 2, run.sizes[i].K}, options);
  if (wants_grad(b.weight)) l.weight_partials = empty({run.N(), b.weight.numel()}, options);
}

/// dz and the partial gradients of every convolution from dy; into dx that of the chain's input, if it is
/// defined.
template <typename T>
void backward_images(ChainRun& run, const Tensor& dy, Tensor& dx) {
  for (std::size_t i = 0; i < run.size(); ++i) allocate_gradients(run, i);
  const bool tail = run.ends_in_tail();
  if (tail) {
    auto args = chain_args<ChainBackwardArgs<T>>(run.N(), sizes_after(run.sizes.back(), run.blocks.back()));
    args.dy = in<T>(dy);
    args.before = run.tail<T>(run.size() - 1);
    EK_DISPATCH_CUDA(run.x.device(), chain_backward, args);
  }
  for (std::size_t i = run.size(); i-- > 0;) {
    Link& l = run.links[i];
    auto args = chain_args<ChainBackwardArgs<T>>(run.N(), run.sizes[i]);
    args.weight_partials = out<T>(l.weight_partials);
    args.weight = in<T>(*l.weight);
    args.after = run.tail<T>(i);
    if (i + 1 == run.size() && !tail) args.dy = in<T>(dy);
    if (i > 0) {
      args.before = run.tail<T>(i - 1);
    } else {
      args.input = in<T>(run.x);
      args.dx = out<T>(dx);
      if (args.dx == nullptr && args.weight_partials == nullptr) continue;
    }
    EK_DISPATCH_CUDA(run.x.device(), chain_backward, args);
  }
}

/// The gradients of all parameters from their parts, in the order weight, gamma, beta of each block;
/// undefined where none is wanted.
template <typename T>
std::vector<Tensor> parameter_gradients(ChainRun& run) {
  std::vector<Tensor> gradients;
  std::vector<ChainSum<T>> sums;
  const auto add = [&](const Tensor& parameter, ChainSum<T> sum) {
    Tensor& g = gradients.emplace_back();
    if (!wants_grad(parameter)) return;
    g = empty(parameter.shape(), run.x.options());
    sum.out = out<T>(g);
    sums.push_back(sum);
  };
  for (std::size_t i = 0; i < run.size(); ++i) {
    const ConvBlock& b = run.blocks[i];
    Link& l = run.links[i];
    const ChainTail<T> t = run.tail<T>(i);
    const std::int64_t N = run.N(), weights = b.weight.numel();
    add(b.weight, {nullptr, in<T>(l.weight_partials), N, weights, static_cast<int>(weights)});
    if (b.norm == ChainNorm::rows) {
      const std::int64_t rows = N * t.sets, D = t.set_size;
      add(b.gamma, {nullptr, t.dnorm, rows, D, t.set_size, t.z, t.statistics, t.relu_first});
      add(b.beta, {nullptr, t.dnorm, rows, D, t.set_size});
    } else {
      add(b.gamma, {nullptr, t.channel_sums, N, 2 * t.C, t.C});
      add(b.beta, {nullptr, t.channel_sums != nullptr ? t.channel_sums + t.C : nullptr, N, 2 * t.C, t.C});
    }
  }
  const ChainSumsArgs<T> args{sums.data(), static_cast<int>(sums.size())};
  EK_DISPATCH_CUDA(run.x.device(), chain_sums, args);
  return gradients;
}

}  // namespace

Tensor conv_chain(const Tensor& x, const std::vector<ConvBlock>& blocks) {
  EK_CHECK(can_fuse(x, blocks), "conv_chain: these {} convolutions cannot be computed together on {} {}",
           blocks.size(), name_of(x.dtype()), x.shape().str());
  auto run = std::make_shared<ChainRun>(x, blocks);
  Tensor y = dispatch_floating(x.dtype(), [&]<typename T>() { return forward<T>(*run); });
  std::vector<const Tensor*> inputs{&x};
  for (const ConvBlock& b : blocks) inputs.insert(inputs.end(), {&b.weight, &b.gamma, &b.beta});
  record("conv_chain", y, inputs, [run, want_x = wants_grad(x)](const Tensor& dy) {
    Tensor dx = empty_if(want_x, run->x.shape(), run->x.options());
    std::vector<Tensor> gradients = dispatch_floating(dy.dtype(), [&]<typename T>() {
      backward_images<T>(*run, dy, dx);
      return parameter_gradients<T>(*run);
    });
    gradients.insert(gradients.begin(), dx);
    return gradients;
  });
  return y;
}

}  // namespace evenkeel
