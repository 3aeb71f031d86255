// Fused blocks on the CPU: kernels/fused_run.h.
#include "evenkeel/kernels/fused_run.h"
#include "evenkeel/core/dispatch.h"
#include "evenkeel/nn/functional/common.h"
#include "evenkeel/nn/functional/fused_block_sizes.h"
#include "evenkeel/nn/functional/units.h"
#include "evenkeel/nn/functional/window.h"

namespace evenkeel {

using namespace functional;

namespace {

/// A parameter as kernels read it, and what is known of its gradient when the run is recorded: the user may
/// change the parameter before backward.
struct RunParameter {
  Tensor values;  // dense
  Saved for_backward;
  bool wants_gradient;

  RunParameter(const Tensor& parameter, bool needed)
      : values(dense(parameter)), for_backward(values, needed), wants_gradient(wants_grad(parameter)) {}
  Tensor empty_gradient() const { return wants_gradient ? empty_like(values) : Tensor(); }
};

struct BlockParameters {
  RunParameter weight, bias, gamma, beta;

  /// is_last: no block after it has its input made again.
  BlockParameters(const FusedBlock& b, bool is_last)
      : weight(b.weight, true), bias(b.bias, false), gamma(b.gamma, true), beta(b.beta, b.relu || !is_last) {}
};

/// Blocks at work on x. Shared between their forward and their backward.
struct CpuRun {
  RunNames names;
  Tensor x;  // dense; undefined after forward
  Saved x_for_backward;
  Shape shape;  // of x
  TensorOptions options;
  bool x_in_units, wants_dx;
  std::vector<FusedBlock> blocks;  // the tensors of parameters and buffers among them
  std::vector<Conv2dSizes> sizes;
  std::vector<BlockParameters> parameters;
  Shape output;
  Tensor saved;  // u8: what forward keeps

  CpuRun(const RunNames& names_, const Tensor& input, const std::vector<FusedBlock>& blocks_)
      : names(names_),
        x(dense(input)),
        x_for_backward(x, backward_reads_x(blocks_)),
        shape(x.shape()),
        options(x.options()),
        x_in_units(units_of(x).defined()),
        wants_dx(wants_grad(input)),
        blocks(blocks_) {
    output = shape;
    parameters.reserve(blocks.size());
    for (const FusedBlock& b : blocks) {
      parameters.emplace_back(b, &b == &blocks.back());
      sizes.push_back(*run_sizes(output, b));
      output = output_of(sizes.back(), b);
    }
  }
  /// For the gradient of the filters, or as the z of a block without a convolution.
  static bool backward_reads_x(const std::vector<FusedBlock>& blocks) {
    const FusedBlock& b = blocks.front();
    if (b.weight.defined()) return wants_grad(b.weight);
    return blocks.size() > 1 || b.norm != NormPartition::none || b.relu_first || b.relu;
  }

  /// The blocks as kernels take them, in memory of the thread that the next call fills anew; only forward has
  /// to do with running statistics.
  template <typename T>
  std::vector<RunBlock<T>>& run_blocks(bool forward) {
    static thread_local std::vector<RunBlock<T>> all;
    all.clear();
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      FusedBlock& b = blocks[i];
      const Conv2dSizes& s = sizes[i];
      const FusedSizes z{.C = 0,
                         .H = 0,
                         .W = 0,
                         .K = static_cast<int>(s.K),
                         .R = 0,
                         .pad = 0,
                         .P = static_cast<int>(s.P),
                         .Q = static_cast<int>(s.Q)};
      RunBlock<T>& to = all.emplace_back();
      to.conv = s;
      to.after = epilogue_without_memory<T>(b, s.N, z);
      const BlockParameters& p = parameters[i];
      if (!forward) {
        to.after.block.weight = in<T>(*p.weight.for_backward);
        to.after.block.gamma = in<T>(*p.gamma.for_backward);
        to.after.block.beta = in<T>(*p.beta.for_backward);
        continue;
      }
      to.bias = in<T>(p.bias.values);
      to.after.block.weight = in<T>(p.weight.values);
      to.after.block.gamma = in<T>(p.gamma.values);
      to.after.block.beta = in<T>(p.beta.values);
      if (b.training) {
        to.after.block.running_mean = out<T>(b.running_mean);
        to.after.block.running_var = out<T>(b.running_var);
        to.after.block.batches_tracked = out<std::int64_t>(b.batches_tracked);
      } else {  // they are only read, which is no change in place
        to.after.block.running_mean = const_cast<T*>(in<T>(b.running_mean));
        to.after.block.running_var = const_cast<T*>(in<T>(b.running_var));
      }
    }
    return all;
  }
};

template <typename T>
Tensor forward(CpuRun& run, bool keeps) {
  const std::vector<RunBlock<T>>& blocks = run.run_blocks<T>(true);
  const auto count = static_cast<std::int64_t>(blocks.size());
  const std::int64_t N = run.output[0];
  const RunImages<const T> x = images<T>(run.x);
  if (keeps) run.saved = empty({cpu::fused_run_memory<T>(blocks.data(), count, N, x.in_units)}, {DType::u8});
  Tensor units = empty_units(run.output, kDTypeOf<T>);
  const FusedRunForwardArgs<T> args{.y = {out<T>(units), true},
                                    .saved = reinterpret_cast<std::byte*>(out<std::uint8_t>(run.saved)),
                                    .x = x,
                                    .blocks = blocks.data(),
                                    .count = count,
                                    .N = N};
  const OpScope scope(run.names.forward, Device::cpu());
  cpu::fused_run_forward(args);
  return from_units(units, run.output);
}

/// The gradients of x and of weight, bias, gamma and beta of each block; undefined where none is wanted.
template <typename T>
std::vector<Tensor> backward(CpuRun& run, const Tensor& dy) {
  std::vector<RunBlock<T>>& blocks = run.run_blocks<T>(false);
  const Tensor& x = *run.x_for_backward;
  RunImages<const T> images_of_x{.in_units = run.x_in_units};
  if (x.defined()) images_of_x = images<T>(x);
  // In units where x is: what made x is a run as well, or takes them.
  Tensor dx;
  if (run.wants_dx)
    dx = run.x_in_units ? empty_units(run.shape, run.options.dtype) : empty(run.shape, run.options);
  std::vector<Tensor> gradients(1);
  const auto gradient_of = [&](const RunParameter& parameter) {
    return out<T>(gradients.emplace_back(parameter.empty_gradient()));
  };
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const BlockParameters& b = run.parameters[i];
    blocks[i].dweight = gradient_of(b.weight);
    blocks[i].dbias = gradient_of(b.bias);
    blocks[i].dgamma = gradient_of(b.gamma);
    blocks[i].dbeta = gradient_of(b.beta);
  }
  const FusedRunBackwardArgs<T> args{.dx = {out<T>(dx), run.wants_dx && run.x_in_units},
                                     .saved = reinterpret_cast<const std::byte*>(in<std::uint8_t>(run.saved)),
                                     .dy = images<T>(dy),
                                     .x = images_of_x,
                                     .blocks = blocks.data(),
                                     .count = static_cast<std::int64_t>(blocks.size()),
                                     .N = run.output[0]};
  const OpScope scope(run.names.backward, Device::cpu());
  cpu::fused_run_backward(args);
  gradients.front() = args.dx.in_units ? from_units(dx, run.shape) : dx;
  return gradients;
}

}  // namespace

namespace functional {

std::optional<Conv2dSizes> run_sizes(const Shape& x, const FusedBlock& b) {
  if (!b.weight.defined()) {
    Conv2dSizes s = conv2d_sizes(x, {x[1], x[1], 1, 1}, {});
    s.R = s.S = 0;
    return s;
  }
  const Shape& weight = b.weight.shape();
  const ConvOptions& o = b.conv;
  if (!is_possible(o) || weight.numel() == 0 || weight[0] % o.groups != 0 || weight[1] * o.groups != x[1] ||
      (b.bias.defined() && b.bias.shape() != Shape{weight[0]}))
    return std::nullopt;
  const Conv2dSizes s = conv2d_sizes(x, weight, o);
  return s.P >= 1 && s.Q >= 1 ? std::optional(s) : std::nullopt;
}

Shape output_of(const Conv2dSizes& s, const FusedBlock& b) {
  return {s.N, s.K, s.P / b.window, s.Q / b.window};
}

Tensor fused_run(const RunNames& names, const Tensor& x, const std::vector<FusedBlock>& blocks) {
  auto run = std::make_shared<CpuRun>(names, x, blocks);
  std::vector<const Tensor*> inputs{&x};
  for (const FusedBlock& b : run->blocks)
    inputs.insert(inputs.end(), {&b.weight, &b.bias, &b.gamma, &b.beta});
  const bool keeps = autograd::recording(inputs);
  Tensor y = dispatch_floating(x.dtype(), [&]<typename T>() { return forward<T>(*run, keeps); });
  run->x = Tensor();
  record(names.op, y, inputs, [run](const Tensor& dy) {
    return dispatch_floating(dy.dtype(), [&]<typename T>() { return backward<T>(*run, dy); });
  });
  return y;
}

}  // namespace functional
}  // namespace evenkeel
