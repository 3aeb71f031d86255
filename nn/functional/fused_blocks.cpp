#include "evenkeel/core/dispatch.h"
#include "evenkeel/nn/functional/common.h"
#include "evenkeel/nn/functional/fused_block_sizes.h"

namespace evenkeel {

using namespace functional;

namespace {

/// The memory of a block: what forward saves, and what backward fills.
struct BlockMemory {
  Saved weight, gamma, beta;
  Tensor z, statistics, moments;
  // Backward.
  Tensor dz, dnorm, channel_sums, weight_partials;

  explicit BlockMemory(const FusedBlock& b)
      : weight(dense(b.weight)), gamma(dense(b.gamma)), beta(dense(b.beta)) {}
};

/// Blocks at work on x. Shared between their forward and their backward.
struct FusedRun {
  Tensor x;
  std::vector<FusedBlock> blocks;  // the tensors of parameters and buffers among them
  std::vector<FusedSizes> sizes;
  std::vector<BlockMemory> memory;

  FusedRun(const Tensor& input, const std::vector<FusedBlock>& blocks_)
      : x(dense(input)), blocks(blocks_), sizes(fused_sizes(x.shape(), blocks)) {
    for (const FusedBlock& b : blocks) memory.emplace_back(b);
  }
  std::int64_t N() const { return x.size(0); }
  std::size_t size() const { return blocks.size(); }
  bool ends_in_epilogue() const { return has_epilogue(blocks.back()); }

  /// What follows convolution i.
  template <typename T>
  Epilogue<T> epilogue(std::size_t i) {
    FusedBlock& b = blocks[i];
    BlockMemory& m = memory[i];
    const auto statistics = [](Tensor& t) { return reinterpret_cast<FusedStatistics<T>*>(out<T>(t)); };
    Epilogue<T> t = epilogue_without_memory<T>(b, N(), sizes[i]);
    t.block = {.weight = in<T>(*m.weight),
               .gamma = in<T>(*m.gamma),
               .beta = in<T>(*m.beta),
               .running_mean = out<T>(b.running_mean),
               .running_var = out<T>(b.running_var),
               .batches_tracked = out<std::int64_t>(b.batches_tracked)};
    t.z = in<T>(m.z);
    t.statistics = statistics(m.statistics);
    t.moments = statistics(m.moments);
    t.dz = out<T>(m.dz);
    t.dnorm = out<T>(m.dnorm);
    t.channel_sums = out<T>(m.channel_sums);
    return t;
  }
};

/// z of every convolution, and the output of the last block.
template <typename T>
Tensor forward(FusedRun& run) {
  const TensorOptions options = run.x.options();
  const std::int64_t N = run.N();
  for (std::size_t i = 0; i < run.size(); ++i) {
    const FusedSizes& s = run.sizes[i];
    BlockMemory& m = run.memory[i];
    const Epilogue<T> after = epilogue_without_memory<T>(run.blocks[i], N, s);
    const bool batch = after.norm == NormPartition::batch;
    m.z = empty({N, s.K, s.P, s.Q}, options);
    m.statistics = empty_if(after.sets > 0, {batch ? 1 : N, after.sets, 3}, options);
    m.moments = empty_if(batch && after.training, {N, after.sets, 3}, options);
    auto args = fused_args<FusedForwardArgs<T>>(N, s);
    args.z = out<T>(m.z);
    args.after = run.epilogue<T>(i);
    if (i == 0)
      args.input = in<T>(run.x);
    else
      args.before = run.epilogue<T>(i - 1);
    run_cuda_kernel<cuda::fused_forward<T>>("fused_forward", run.x.device(), args);
  }
  if (!run.ends_in_epilogue()) return run.memory.back().z.detach();  // the run must not own what owns it
  const FusedSizes s = sizes_after(run.sizes.back(), run.blocks.back());
  Tensor y = empty({N, s.K, s.H, s.W}, options);
  auto args = fused_args<FusedForwardArgs<T>>(N, s);
  args.z = out<T>(y);
  args.before = run.epilogue<T>(run.size() - 1);
  run_cuda_kernel<cuda::fused_forward<T>>("fused_forward", run.x.device(), args);
  return y;
}

/// The memory that backward fills for convolution i and what follows it.
void allocate_gradients(FusedRun& run, std::size_t i) {
  const FusedBlock& b = run.blocks[i];
  const TensorOptions options = run.x.options();
  BlockMemory& m = run.memory[i];
  const bool batch = b.norm == NormPartition::batch, affine = b.gamma.defined() || b.beta.defined();
  const bool by_channel = b.norm == NormPartition::group || b.norm == NormPartition::pixels;
  const bool is_output = i + 1 == run.size() && !run.ends_in_epilogue();  // whose gradient is given
  m.dz = empty_if(!batch && !is_output, m.z.shape(), options);
  m.dnorm = empty_if(batch || (b.norm == NormPartition::rows && affine), m.z.shape(), options);
  m.channel_sums = empty_if(batch || (by_channel && affine), {run.N(), 2, run.sizes[i].K}, options);
  if (wants_grad(b.weight)) m.weight_partials = empty({run.N(), b.weight.numel()}, options);
}

/// dz and the partial gradients of every convolution from dy; into dx that of the input, if it is defined.
template <typename T>
void backward_images(FusedRun& run, const Tensor& dy, Tensor& dx) {
  for (std::size_t i = 0; i < run.size(); ++i) allocate_gradients(run, i);
  const bool dy_is_of_epilogue = run.ends_in_epilogue();
  if (dy_is_of_epilogue) {
    auto args = fused_args<FusedBackwardArgs<T>>(run.N(), sizes_after(run.sizes.back(), run.blocks.back()));
    args.dy = in<T>(dy);
    args.before = run.epilogue<T>(run.size() - 1);
    run_cuda_kernel<cuda::fused_backward<T>>("fused_backward", run.x.device(), args);
  }
  for (std::size_t i = run.size(); i-- > 0;) {
    BlockMemory& m = run.memory[i];
    auto args = fused_args<FusedBackwardArgs<T>>(run.N(), run.sizes[i]);
    args.weight_partials = out<T>(m.weight_partials);
    args.after = run.epilogue<T>(i);
    if (i + 1 == run.size() && !dy_is_of_epilogue) args.dy = in<T>(dy);
    if (i > 0) {
      args.before = run.epilogue<T>(i - 1);
    } else {
      args.input = in<T>(run.x);
      args.dx = out<T>(dx);
      if (args.dx == nullptr && args.weight_partials == nullptr) continue;
    }
    run_cuda_kernel<cuda::fused_backward<T>>("fused_backward", run.x.device(), args);
  }
}

/// The gradients of all parameters from the partial ones of the images, in the order weight, gamma, beta of
/// each block; undefined where none is wanted.
template <typename T>
std::vector<Tensor> parameter_gradients(FusedRun& run) {
  std::vector<Tensor> gradients;
  std::vector<FusedGradientSum<T>> sums;
  const auto add = [&](const Tensor& parameter, FusedGradientSum<T> sum) {
    Tensor& g = gradients.emplace_back();
    if (!wants_grad(parameter)) return;
    g = empty(parameter.shape(), run.x.options());
    sum.out = out<T>(g);
    sums.push_back(sum);
  };
  for (std::size_t i = 0; i < run.size(); ++i) {
    const FusedBlock& b = run.blocks[i];
    BlockMemory& m = run.memory[i];
    const Epilogue<T> t = run.epilogue<T>(i);
    const std::int64_t N = run.N(), weights = b.weight.numel();
    add(b.weight, {nullptr, in<T>(m.weight_partials), N, weights, static_cast<int>(weights)});
    if (b.norm == NormPartition::rows) {
      const std::int64_t rows = N * t.sets, D = t.set_size;
      add(b.gamma, {nullptr, t.dnorm, rows, D, t.set_size, t.z, t.statistics, t.relu_first});
      add(b.beta, {nullptr, t.dnorm, rows, D, t.set_size});
    } else {
      add(b.gamma, {nullptr, t.channel_sums, N, 2 * t.C, t.C});
      add(b.beta, {nullptr, t.channel_sums != nullptr ? t.channel_sums + t.C : nullptr, N, 2 * t.C, t.C});
    }
  }
  const FusedGradientSumsArgs<T> args{sums.data(), static_cast<int>(sums.size())};
  run_cuda_kernel<cuda::fused_gradient_sums<T>>("fused_gradient_sums", run.x.device(), args);
  return gradients;
}

}  // namespace

Tensor fused_blocks(const Tensor& x, const std::vector<FusedBlock>& blocks) {
  EK_CHECK(!blocks.empty() && fusable(x, blocks) == blocks.size(),
           "fused_blocks: these {} blocks cannot be computed together on {} {}", blocks.size(),
           name_of(x.dtype()), x.shape().str());
  if (x.device().is_cpu()) return fused_run({}, x, blocks);
  auto run = std::make_shared<FusedRun>(x, blocks);
  Tensor y = dispatch_floating(x.dtype(), [&]<typename T>() { return forward<T>(*run); });
  std::vector<const Tensor*> inputs{&x};
  for (const FusedBlock& b : blocks) inputs.insert(inputs.end(), {&b.weight, &b.gamma, &b.beta});
  record("fused_blocks", y, inputs, [run, want_x = wants_grad(x)](const Tensor& dy) {
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
