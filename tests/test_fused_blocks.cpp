// Fused blocks, which nn::Sequential computes together - on the CPU a few images at a time, on a CUDA device
// with a kernel a convolution - against the same layers one by one on the CPU in f64.
#include "evenkeel/nn/fusion.h"

#include <cmath>
#include <functional>
#include <limits>

#include "compare.h"
#include "evenkeel/apps/mnist/network.h"
#include "evenkeel/core/autograd.h"
#include "evenkeel/core/random.h"
#include "evenkeel/nn/layers.h"

using namespace evenkeel;
using namespace evenkeel::nn;
using namespace evenkeel::test;

namespace {

bool skipped() {
  if (cuda_devices().count > 0) return false;
  WARN("no CUDA device: " << cuda_devices().reason);
  return true;
}

const Device kCuda = Device::cuda();
constexpr Conv2dOptions kNoBias = {.bias = false};

/// The batch on the CPU: larger, so that it fuses, and with a unit of one image.
Shape batch_on(Device device, Shape x) {
  if (device.is_cpu()) x[0] += 16;
  return x;
}

struct BlockCase {
  const char* reason;
  Shape x;
  std::function<Sequential()> net;
  bool training = true;
};

const BlockCase kCases[] = {
    {"minimal: one pixel, one channel",
     {1, 1, 1, 1},
     [] { return Sequential(Conv2d(1, 1, 1, kNoBias), ReLU()); }},
    {"filters and channels that are no quads",
     {3, 3, 7, 5},
     [] {
       return Sequential(Conv2d(3, 5, 3, kNoBias), ReLU(), Conv2d(5, 6, 1, kNoBias),
                         Conv2d(6, 2, 3, kNoBias));
     }},
    {"padding, so that tiles have borders both ways",
     {2, 2, 5, 6},
     [] {
       const Conv2dOptions same = {.padding = 1, .bias = false};
       return Sequential(Conv2d(2, 4, 3, same), ReLU(), Conv2d(4, 3, 3, {.padding = 2, .bias = false}));
     }},
    {"batch norm before ReLU, dropout of images whose sizes are no multiple of 4",
     {5, 1, 9, 7},
     [] {
       return Sequential(Conv2d(1, 4, 3, kNoBias), BatchNorm2d(4), ReLU(), Conv2d(4, 6, 3, kNoBias),
                         BatchNorm2d(6), ReLU(), Dropout(0.3), Conv2d(6, 3, 1, kNoBias));
     }},
    {"batch norm after ReLU, without parameters and running statistics, of one pixel an image",
     {4, 2, 3, 3},
     [] {
       return Sequential(Conv2d(2, 7, 3, kNoBias), ReLU(),
                         BatchNorm2d(7, {.affine = false, .track_running_stats = false}),
                         Conv2d(7, 2, 1, kNoBias));
     }},
    {"batch norm with running statistics",
     {3, 2, 6, 6},
     [] { return Sequential(Conv2d(2, 4, 3, kNoBias), BatchNorm2d(4), ReLU(), Conv2d(4, 4, 1, kNoBias)); },
     false},
    {"batch norm of more images than a warp has lanes, at the end",
     {37, 1, 4, 4},
     [] { return Sequential(Conv2d(1, 3, 3, kNoBias), BatchNorm2d(3), ReLU()); }},
    {"group norm of large groups, average pool with a remainder, dropout at the end",
     {3, 2, 17, 13},
     [] {
       return Sequential(Conv2d(2, 6, 3, kNoBias), ReLU(), GroupNorm(2, 6), AvgPool2d(2), Dropout(0.1),
                         Conv2d(6, 4, 3, kNoBias), GroupNorm(4, 4), ReLU(), Dropout(0.2));
     }},
    {"instance norm of many channels, without parameters",
     {2, 3, 8, 9},
     [] {
       return Sequential(Conv2d(3, 20, 3, kNoBias), GroupNorm(20, 20, {.affine = false}),
                         Conv2d(20, 2, 1, kNoBias));
     }},
    {"InstanceNorm2d with parameters",
     {2, 3, 8, 9},
     [] {
       return Sequential(Conv2d(3, 5, 3, kNoBias), InstanceNorm2d(5, {.affine = true}), ReLU(),
                         Conv2d(5, 2, 1, kNoBias));
     }},
    {"layer norm over an image, with a parameter an element",
     {3, 1, 12, 10},
     [] {
       return Sequential(Conv2d(1, 4, 3, kNoBias), ReLU(), LayerNorm({4, 10, 8}), Conv2d(4, 3, 3, kNoBias),
                         ReLU(), LayerNorm({3, 8, 6}));
     }},
    {"layer norm over rows and over planes",
     {2, 2, 9, 40},
     [] {
       return Sequential(Conv2d(2, 3, 3, kNoBias), LayerNorm({38}), ReLU(), Conv2d(3, 2, 3, kNoBias),
                         LayerNorm({5, 36}, {.affine = false}), ReLU(), Conv2d(2, 2, 1, kNoBias));
     }},
    {"layer norm over channels of more pixels than a block has threads",
     {2, 1, 20, 19},
     [] { return Sequential(Conv2d(1, 5, 3, kNoBias), ReLU(), LayerNorm2d(5), Conv2d(5, 2, 3, kNoBias)); }},
    {"layer norm over channels of few pixels, without parameters",
     {2, 3, 4, 4},
     [] { return Sequential(Conv2d(3, 40, 3, kNoBias), LayerNorm2d(40, {.affine = false}), ReLU()); }},
    {"maximum pool with a remainder and ReLU, ties among zeros",
     {3, 2, 9, 8},
     [] {
       return Sequential(Conv2d(2, 4, 3, kNoBias), ReLU(), MaxPool2d(3), Conv2d(4, 2, 1, kNoBias),
                         MaxPool2d(2));
     }},
};

/// What only the CPU fuses.
const BlockCase kCpuCases[] = {
    {"3 x 3 filters of even planes, many channels: Winograd in all directions, with the padding of a "
     "residual "
     "network",
     {1, 1, 12, 14},
     [] {
       const Conv2dOptions same = {.padding = 1, .bias = false};
       return Sequential(Conv2d(1, 16, 3, same), BatchNorm2d(16), ReLU(), Conv2d(16, 16, 3, same),
                         BatchNorm2d(16), ReLU(), Conv2d(16, 13, 3, kNoBias), ReLU(),
                         Conv2d(13, 18, 3, {.padding = 2, .bias = false}));
     }},
    {"filters of other sizes, strides, dilations, groups and biases",
     {2, 2, 15, 17},
     [] {
       return Sequential(Conv2d(2, 6, {3, 5}, {.stride = {2, 1}, .padding = {1, 3}}), GroupNorm(3, 6), ReLU(),
                         Conv2d(6, 4, 3, {.padding = 2, .dilation = 2, .groups = 2}), ReLU(),
                         Conv2d(4, 8, 1, {.groups = 4}), LayerNorm2d(8), Conv2d(8, 5, 2, {.stride = 2}));
     }},
    {"maximum pool after a norm, with a remainder, and before one",
     {1, 3, 11, 10},
     [] {
       return Sequential(Conv2d(3, 5, 3, kNoBias), BatchNorm2d(5), ReLU(), MaxPool2d(2), GroupNorm(1, 5),
                         MaxPool2d(3));
     }},
    {"layers in an order that needs blocks without a convolution",
     {2, 4, 7, 6},
     [] {
       return Sequential(ReLU(), LayerNorm({4, 7, 6}), Dropout(0.4), BatchNorm2d(4), AvgPool2d(2), ReLU(),
                         Conv2d(4, 3, 1), Dropout(0.2), Dropout(0.3), ReLU(), LayerNorm2d(3));
     }},
    {"64 channels",
     {1, 64, 6, 6},
     [] {
       return Sequential(Conv2d(64, 64, 3, {.padding = 1, .bias = false}), BatchNorm2d(64), ReLU(),
                         Conv2d(64, 32, 1));
     }},
    {"statistics of constants",
     {2, 4, 6, 5},
     [] { return Sequential(Conv2d(4, 3, 3), BatchNorm2d(3), ReLU(), Conv2d(3, 4, 1), BatchNorm2d(4)); },
     false},
};

/// The net's layers, called one after another.
Tensor each_layer(Sequential& net, const Tensor& x) {
  Tensor y = x;
  for (std::size_t i = 0; i < net.size(); ++i) y = net[i].forward(y);
  return y;
}

/// The results of a run: the output, gradients of x and the parameters, and buffers.
struct Run {
  Tensor y, dx;
  NamedTensors gradients, state;
  std::uint64_t draws;

  Run(const BlockCase& c, TensorOptions options, bool by_layer = false) {
    manual_seed(2);
    Sequential net = c.net();
    net.train(c.training);
    net.to(options.dtype);
    net.to(options.device);
    Random random;
    const Tensor x = leaf(random.normal(c.x, options));
    y = by_layer ? each_layer(net, x) : net(x);
    y.backward(random.normal(y.shape(), options));
    dx = x.grad();
    for (const auto& [name, parameter] : net.named_parameters())
      gradients.emplace_back(name, parameter.grad());
    state = net.state_dict();
    draws = default_generator().count();
  }
};

void check_same(const Run& run, const Run& expected, DType dtype) {
  const double allowed = dtype == DType::f32 ? 3e-5 : 1e-11;
  CHECK(close(run.y, to_array(expected.y), allowed));
  CHECK(close(run.dx, to_array(expected.dx), allowed, std::max(1e-3, to_array(expected.dx).largest())));
  CHECK(run.draws == expected.draws);
  const auto check_all = [&](const NamedTensors& these, const NamedTensors& those) {
    REQUIRE(these.size() == those.size());
    for (std::size_t i = 0; i < these.size(); ++i) {
      INFO(these[i].first);
      const Array values = to_array(those[i].second);
      CHECK(close(these[i].second, values, allowed, std::max(1e-3, values.largest())));
    }
  };
  check_all(run.gradients, expected.gradients);
  check_all(run.state, expected.state);
}

/// The layers one by one on the CPU, in f64.
Run run_of_layers(const BlockCase& c) {
  const NoFusion guard;
  return Run(c, {DType::f64, Device::cpu()});
}

/// True if all layers of the net run as one for x.
bool is_fused(const Sequential& net, const Tensor& x) {
  const FoundBlocks found = find_blocks(net, x.device());
  return found.end == net.size() && fusable(x, found.blocks) == found.blocks.size();
}

}  // namespace

TEST_CASE("fused blocks compute what their layers do one by one") {
  const auto check = [](BlockCase c, Device device) {
    INFO(c.reason << ", " << device.str());
    c.x = batch_on(device, c.x);
    const Run expected = run_of_layers(c);
    for (const DType dtype : {DType::f32, DType::f64}) {
      INFO(name_of(dtype));
      Sequential net = c.net();
      net.train(c.training);
      net.to(dtype);
      net.to(device);
      CHECK(is_fused(net, zeros(c.x, {dtype, device})));
      check_same(Run(c, {dtype, device}), expected, dtype);
    }
  };
  for (const Device device : devices()) {
    for (const BlockCase& c : kCases) check(c, device);
  }
  for (const BlockCase& c : kCpuCases) check(c, Device::cpu());
}

TEST_CASE("layers called one by one on the CPU pass images on as fused blocks have them") {
  const auto check = [](BlockCase c) {
    INFO(c.reason);
    c.x = batch_on(Device::cpu(), c.x);
    const Run expected = run_of_layers(c);
    for (const DType dtype : {DType::f32, DType::f64})
      check_same(Run(c, {dtype, Device::cpu()}, /*by_layer=*/true), expected, dtype);
    manual_seed(5);
    Sequential net = c.net();
    net.train(c.training);
    net.to(DType::f64);
    Random random;
    std::vector<Tensor> inputs{leaf(random.normal(c.x, {DType::f64}))};
    for (const Tensor& p : net.parameters()) inputs.push_back(p);
    const auto f = [&](const std::vector<Tensor>& in) {
      manual_seed(6);  // the same masks each time
      return each_layer(net, in[0]);
    };
    CHECK(gradcheck(f, inputs, {.max_elements = 6}));
  };
  for (const BlockCase& c : kCases) check(c);
  for (const BlockCase& c : kCpuCases) check(c);
}

TEST_CASE("a fused run has the same bits for any number of threads, and its gradients for any batch alike") {
  const int threads = num_threads();
  for (const BlockCase& each : kCases) {
    INFO(each.reason);
    BlockCase c = each;
    c.x[0] += 60;
    set_num_threads(1);
    const Run one(c, {DType::f32, Device::cpu()});
    for (const int n : {2, 3, 7}) {
      set_num_threads(n);
      const Run many(c, {DType::f32, Device::cpu()});
      CHECK(same_bits(many.y, one.y));
      CHECK(same_bits(many.dx, one.dx));
      for (std::size_t i = 0; i < one.gradients.size(); ++i)
        CHECK(same_bits(many.gradients[i].second, one.gradients[i].second));
    }
  }
  set_num_threads(threads);
}

TEST_CASE("the statistics of a fused run keep their digits where the mean is far larger than the deviation") {
  // 1000 +- 0.01, through a convolution that does nothing.
  const Shape shape{20, 4, 8, 8};
  Tensor x = Random().normal(shape, {DType::f64});
  x = (x * 0.01 + 1000.0).to(DType::f32);
  Tensor unit = zeros({4, 4, 1, 1});
  for (int c = 0; c < 4; ++c) unit.slice(0, c, c + 1).slice(1, c, c + 1).fill_(1);
  const auto norms = [] {
    std::vector<Sequential> nets;
    const Conv2d conv(4, 4, 1, kNoBias);
    nets.push_back(Sequential(conv, BatchNorm2d(4)));
    nets.push_back(Sequential(conv, GroupNorm(2, 4)));
    nets.push_back(Sequential(conv, LayerNorm({4, 8, 8})));
    nets.push_back(Sequential(conv, LayerNorm2d(4)));
    return nets;
  };
  for (Sequential& net : norms()) {
    Tensor weight = net.parameters().front();
    {
      const NoGrad guard;
      weight.copy_(unit);
    }
    CHECK(is_fused(net, x));
    const Tensor y = net(x);
    const NoFusion guard;
    Sequential exact = net;
    exact.to(DType::f64);
    CHECK(close(y, to_array(exact(x.to(DType::f64))), 1e-3));
    net.to(DType::f32);
  }
}

TEST_CASE("NaN and infinity pass through fused blocks as through their layers, and hide nothing") {
  constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> values{1, -1, inf, 2, nan, 3, nan, -inf};
  const Conv2d conv(1, 1, 1, kNoBias);
  const Sequential nets[] = {Sequential(conv, ReLU(), conv), Sequential(conv, ReLU(), MaxPool2d(2), conv),
                             Sequential(conv, BatchNorm2d(1), ReLU(), conv),
                             Sequential(conv, ReLU(), LayerNorm2d(1), conv)};
  for (Sequential net : nets) {
    net.eval();
    const auto run = [&](Device device) {
      net.to(device);
      Tensor x = leaf(from_vector<float>(values, {1, 1, 2, 4}, device));
      CHECK((!fusion_enabled() || is_fused(net, x)));
      const Tensor y = net(x);
      y.backward(ones(y.shape(), y.options()));
      return std::pair{y.to_vector<double>(), x.grad().to_vector<double>()};
    };
    const auto layers = [&] {
      const NoFusion guard;
      return run(Device::cpu());
    }();
    const auto same = [](double a, double b) {
      return a == b || (std::isnan(a) && std::isnan(b)) || std::abs(a - b) < 1e-5;
    };
    for (const Device device : devices()) {
      const auto fused = run(device);
      CHECK(std::equal(fused.first.begin(), fused.first.end(), layers.first.begin(), same));
      CHECK(std::equal(fused.second.begin(), fused.second.end(), layers.second.begin(), same));
    }
  }
}

TEST_CASE("fused blocks have the right gradients") {
  const auto check = [](const BlockCase& c, Device device) {
    INFO(c.reason << ", " << device.str());
    manual_seed(5);
    Sequential net = c.net();
    net.train(c.training);
    net.to(DType::f64);
    net.to(device);
    Random random;
    std::vector<Tensor> inputs{leaf(random.normal(batch_on(device, c.x), {DType::f64, device}))};
    for (const Tensor& p : net.parameters()) inputs.push_back(p);
    const auto f = [&](const std::vector<Tensor>& in) {
      manual_seed(6);  // the same masks each time
      return net(in[0]);
    };
    CHECK(gradcheck(f, inputs, {.max_elements = 12}));
  };
  for (const Device device : devices()) {
    for (const BlockCase& c : kCases) check(c, device);
  }
  for (const BlockCase& c : kCpuCases) check(c, Device::cpu());
}

TEST_CASE("the networks of the study are fused blocks") {
  for (const Device device : devices()) {
    for (const std::string_view name : mnist::norm_names()) {
      INFO(name << ", " << device.str());
      const BlockCase c{"", batch_on(device, {2, 1, 28, 28}),
                        [&] { return mnist::network(mnist::parse_norm(name)); }};
      check_same(Run(c, {DType::f64, device}), run_of_layers(c), DType::f64);
      Sequential net = c.net();
      net.to(device);
      const FoundBlocks found = find_blocks(net, device);
      CHECK(found.blocks.size() == 9);
      CHECK(net.size() - found.end == 2);  // flatten and log-softmax
      CHECK(fusable(zeros(c.x, {DType::f32, device}), found.blocks) == found.blocks.size());
    }
  }
}

TEST_CASE("what cannot be in a fused block is computed layer by layer") {
  if (skipped()) return;
  const BlockCase cases[] = {
      {"a bias", {2, 1, 6, 6}, [] { return Sequential(Conv2d(1, 2, 3), ReLU(), Conv2d(2, 2, 1, kNoBias)); }},
      {"a stride",
       {2, 1, 7, 7},
       [] { return Sequential(Conv2d(1, 2, 3, {.stride = 2, .bias = false}), ReLU()); }},
      {"maximum pool after a norm",
       {2, 1, 6, 6},
       [] {
         return Sequential(Conv2d(1, 2, 3, kNoBias), GroupNorm(1, 2), MaxPool2d(2), Conv2d(2, 1, 1, kNoBias));
       }},
      {"an image too large for a block",
       {1, 1, 200, 200},
       [] { return Sequential(Conv2d(1, 2, 3, kNoBias), ReLU()); }},
  };
  for (const BlockCase& c : cases) {
    INFO(c.reason);
    CHECK_FALSE(is_fused(c.net(), zeros(c.x, {DType::f32, kCuda})));
    check_same(Run(c, {DType::f64, kCuda}), run_of_layers(c), DType::f64);
  }
}

TEST_CASE("fused blocks give only the gradients that are wanted") {
  for (const Device device : devices()) {
    BlockCase c = kCases[3];
    c.x = batch_on(device, c.x);
    const Run all(c, {DType::f32, device});
    manual_seed(2);
    Sequential net = c.net();
    net.to(device);
    Random random;
    const Tensor x = random.normal(c.x, {DType::f32, device});
    Tensor y = net(x);
    CHECK(same_bits(y, all.y));
    y.backward(random.normal(y.shape(), y.options()));
    for (const auto& [name, gradient] : all.gradients) {
      const NamedTensors parameters = net.named_parameters();
      for (const auto& [own, parameter] : parameters) {
        INFO(name);
        if (own == name) CHECK(same_bits(parameter.grad(), gradient));
      }
    }
    CHECK_FALSE(x.requires_grad());
    const NoGrad guard;
    CHECK_FALSE(net(x).requires_grad());
  }
}

TEST_CASE("frozen layers get no gradient, and those after them theirs") {
  BlockCase c = kCases[3];
  c.x = batch_on(Device::cpu(), c.x);
  const Run all(c, {DType::f32, Device::cpu()});
  for (std::size_t frozen = 1; frozen <= all.gradients.size(); ++frozen) {
    manual_seed(2);
    Sequential net = c.net();
    Random random;
    const Tensor x = random.normal(c.x, {});
    std::vector<Tensor> parameters = net.parameters();
    for (std::size_t i = 0; i < frozen; ++i) parameters[i].requires_grad_(false);
    Tensor y = net(x);
    CHECK(same_bits(y, all.y));
    if (frozen < parameters.size()) y.backward(random.normal(y.shape(), y.options()));
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (i < frozen) {
        CHECK_FALSE(parameters[i].grad().defined());
      } else {
        CHECK(same_bits(parameters[i].grad(), all.gradients[i].second));
      }
    }
  }
}

TEST_CASE("a network in training mode computes the same without gradients") {
  BlockCase c = kCases[3];
  c.x = batch_on(Device::cpu(), c.x);
  const Run all(c, {DType::f32, Device::cpu()});
  manual_seed(2);
  Sequential net = c.net();
  const NoGrad guard;
  CHECK(same_bits(net(Random().normal(c.x, {})), all.y));
}

TEST_CASE("a convolution that there cannot be is refused in conv2d's words") {
  const Conv2dOptions impossible[] = {{.stride = 0}, {.dilation = 0}, {.padding = -1}, {.dilation = 9}};
  for (const Conv2dOptions& options : impossible) {
    Sequential net(Conv2d(2, 4, 3, options), ReLU(), Conv2d(4, 2, 1));
    CHECK(mentions(error_of([&] { net(zeros({16, 2, 6, 6})); }), {"conv2d"}));
  }
}

TEST_CASE("evaluation reads running statistics and does not count as a change of them") {
  Sequential net(Conv2d(2, 4, 3), BatchNorm2d(4), ReLU());
  net.eval();
  const Tensor x = zeros({16, 2, 6, 6});
  CHECK(is_fused(net, x));
  std::vector<std::uint64_t> before;
  for (const auto& [name, tensor] : net.state_dict()) before.push_back(tensor.storage().version());
  net(x);
  std::size_t i = 0;
  for (const auto& [name, tensor] : net.state_dict()) {
    INFO(name);
    CHECK(tensor.storage().version() == before[i++]);
  }
}

TEST_CASE("without fusion the layers run one by one") {
  for (const Device device : devices()) {
    BlockCase c = kCases[3];
    c.x = batch_on(device, c.x);
    const Run together(c, {DType::f64, device});
    const NoFusion guard;
    CHECK_FALSE(fusion_enabled());
    check_same(Run(c, {DType::f64, device}), together, DType::f64);
  }
}

namespace {

/// A layer of a user's own.
class Doubled : public Module {
 public:
  Tensor forward(const Tensor& x) override { return x * 2.0; }
};

}  // namespace

TEST_CASE("a summary says what runs together, and changes nothing") {
  Sequential net(Conv2d(1, 4, 3), BatchNorm2d(4), ReLU(), Doubled(), Conv2d(4, 4, 3), GroupNorm(2, 4),
                 MaxPool2d(2), Flatten());
  net[1].eval();
  const NamedTensors before = net.state_dict();
  const std::string text = summary(net, Random().normal({16, 1, 10, 10}, {}));
  CHECK(text ==
        "layers 0 to 2 together: Conv2d, BatchNorm2d, ReLU -> [16, 4, 8, 8]\n"
        "layer 3 alone: (anonymous namespace)::Doubled -> [16, 4, 8, 8]\n"
        "layers 4 to 6 together: Conv2d, GroupNorm, MaxPool2d -> [16, 4, 3, 3]\n"
        "layer 7 alone: Flatten -> [16, 36]");
  CHECK(net.training());
  CHECK(net[0].training());
  CHECK_FALSE(net[1].training());
  for (const auto& [name, tensor] : before) {
    if (name == "1.num_batches_tracked") CHECK(tensor.item() == 0);
    if (name == "1.running_mean") CHECK(tensor.to_vector<double>() == std::vector<double>(4, 0.0));
  }
}
