// Layers where they add something to their functions: sequences of layers, modules used twice, Flatten and
// global pooling of nothing, state that moves along.
#include "evenkeel/nn/layers.h"
#include "evenkeel/core/autograd.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/optim.h"
#include "property/families.h"
#include "reference/conv2d.h"
#include "reference/norms.h"
#include "reference/pool2d.h"
#include "reference/simple.h"

namespace evenkeel::property {
namespace {

/// Convolution, ReLU, then pooling or a norm: against the reference, and twice the same bits.
void chain_case(Gen& gen) {
  const Index N = gen.pick({1, 2, 7, 8, 9, 15, 16, 17}), C = gen.integer(1, 2), K = gen.integer(1, 4);
  const Index H = gen.chance(50) ? 6 : gen.integer(4, 8), W = gen.chance(50) ? 6 : gen.integer(4, 8);
  const Index kind = gen.integer(0, 2);
  const reference::Conv2d conv{1, 1, 1, 1, 1, 1, 1};
  const Index step = gen.pick({1, 2, 3, 3}), pad = gen.integer(0, 1);
  const reference::Pool2d pool{3, 3, step, step, pad, pad};
  OpCase c;
  c.op = "chain";
  c.args = fmt::format(R"("kind": {}, "stride": [{}, {}], "padding": [{}, {}])", kind, pool.stride_h,
                       pool.stride_w, pool.pad_h, pool.pad_w);
  c.torch_has_it = false;
  c.inputs = {gen.operand({N, C, H, W}, false), gen.parameter({K, C, 3, 3}), gen.parameter({K})};
  const auto partition = reference::layer_norm_partition({N, K, H, W}, 3);
  const PoolOptions pooled{{pool.stride_h, pool.stride_w}, {pool.pad_h, pool.pad_w}};
  c.run = [=](const std::vector<Tensor>& in) {
    const Tensor y = conv2d(in[0], in[1], in[2], {.padding = 1});
    if (kind == 2) return layer_norm(relu(y), {K, H, W});
    return kind == 0 ? max_pool2d(relu(y), 3, pooled) : avg_pool2d(relu(y), 3, pooled);
  };
  const Array ones(Sizes{K, H, W}, 1), zeros(Sizes{K, H, W});
  const auto hidden = [=](const std::vector<Array>& in) {
    return reference::relu(reference::conv2d(in[0], in[1], in[2], conv));
  };
  c.forward = [=](const std::vector<Array>& in) {
    const Array x = hidden(in);
    if (kind == 2)
      return reference::normalize(x, partition, reference::statistics(x, partition), ones, zeros, 1e-5);
    return kind == 0 ? reference::max_pool2d(x, pool) : reference::avg_pool2d(x, pool);
  };
  c.backward = [=](const Array& dy, const std::vector<Array>& in) {
    const Array x = hidden(in);
    Array dx = kind == 2   ? reference::normalize_backward(dy, x, partition, ones, 1e-5).dx
               : kind == 0 ? reference::max_pool2d_backward(dy, x, pool)
                           : reference::avg_pool2d_backward(dy, x, pool);
    dx = reference::relu_backward(dx, x);
    const reference::Conv2dGradients d = reference::conv2d_backward(dx, in[0], in[1], conv);
    return std::vector<Array>{d.dx, d.dweight, d.dbias};
  };
  // ReLU and maxima decide by values that rounding moves: f32 may choose another of two that are nearly
  // equal. The inputs are then made of few digits, so that sums are exact.
  for (Operand& o : c.inputs) o.values.values = (o.values.values * 4).round() / 4;
  c.scale = [=](const std::vector<Array>&, const Array& y, const Array& dy) {
    const double size = 300 * static_cast<double>(N * H * W) * (1 + largest_finite(dy));
    return std::vector<double>{100 * (1 + largest_finite(y)), size, size, size};
  };
  check(c, gen);
}

/// One layer at two places: parameters() has it once, and a step is one step.
void used_twice(Gen& gen) {
  const Index n = gen.integer(1, 5);
  nn::Linear linear(n, n, false);
  nn::Sequential net{linear, nn::ReLU(), linear};
  if (net.parameters().size() != 1)
    fail_case(fmt::format("a layer that is used twice gives {} parameters", net.parameters().size()));
}

/// Flatten and global pooling of batches of nothing keep the sizes that are known.
void of_nothing(Gen& gen) {
  const Sizes shape = gen.shape(4);
  const Tensor x = zeros(to_shape(shape), {DType::f32, gen.device()});
  nn::Flatten flatten;
  const Index rest = shape[1] * shape[2] * shape[3];
  const Tensor y = flatten(x);
  if (y.shape() != Shape{shape[0], rest})
    fail_case(fmt::format("Flatten of {} has shape {}", str(shape), y.shape().str()));
  if (shape[2] > 0 && shape[3] > 0 && shape[1] > 0) {
    nn::GlobalAvgPool2d pool;
    if (pool(x).shape() != Shape{shape[0], shape[1]}) fail_case("GlobalAvgPool2d has another shape");
  }
}

/// Two steps with momentum, the net converted between them: as if it had been f64 all the time.
void converted(Gen& gen) {
  const Index n = gen.integer(1, 6);
  if (gen.device().is_cuda()) return;
  manual_seed(gen.seed());
  nn::Linear net(n, n);
  optim::SGD sgd(net.parameters(), {.lr = 0.125, .momentum = 0.5});
  const auto step = [&](DType dtype) {
    sgd.zero_grad();
    net(ones({1, n}, {dtype})).backward(ones({1, n}, {dtype}));
    sgd.step();
  };
  std::vector<Array> before;
  for (const Tensor& p : net.parameters()) before.push_back(to_array(p));
  try {
    step(DType::f32);
    net.to(DType::f64);
    step(DType::f64);
  } catch (const Error& error) {
    fail_case(fmt::format("a step after to(f64) was refused: {}", error.what()));
  }
  for (std::size_t i = 0; i < before.size(); ++i) {
    before[i].values -= 0.125 + 0.125 * 1.5;  // all gradients are 1
    if (net.parameters()[i].dtype() != DType::f64) fail_case("a parameter is not f64");
    must_equal(fmt::format("parameter {}", i), net.parameters()[i], before[i], 1e6);
  }
}

}  // namespace

void add_layers(std::vector<Property>& all) {
  all.insert(all.end(), {{"chain", chain_case},
                         {"used_twice", used_twice},
                         {"of_nothing", of_nothing},
                         {"converted", converted}});
}

}  // namespace evenkeel::property
