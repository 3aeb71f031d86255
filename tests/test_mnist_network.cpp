// The study's network, with every normalization.
#include "evenkeel/apps/mnist/network.h"

#include <cmath>

#include "compare.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/core/random.h"
#include "evenkeel/nn/layers.h"

using namespace evenkeel;
using namespace evenkeel::test;
using mnist::network;
using mnist::Norm;

namespace {

using Inputs = std::vector<Tensor>;

struct Expected {
  Norm norm;
  const char* name;
  std::int64_t parameters;
};
const Expected kNorms[] = {
    {Norm::bn, "bn", 9300},         {Norm::gn, "gn", 9300},     {Norm::ln, "ln", 30504},
    {Norm::ln_row, "ln-row", 9160}, {Norm::ln_c, "ln-c", 9300}, {Norm::in, "in", 9300},
    {Norm::none, "none", 9160},
};

/// The convolutions' weights: the only parameters with four axes, as layer norm's have three.
std::vector<Tensor> convolution_weights(const nn::Module& net) {
  std::vector<Tensor> weights;
  for (const Tensor& p : net.parameters()) {
    if (p.rank() == 4) weights.push_back(p);
  }
  return weights;
}

std::int64_t count(const std::vector<Tensor>& tensors) {
  std::int64_t n = 0;
  for (const Tensor& x : tensors) n += x.numel();
  return n;
}

double largest(const Tensor& x) { return max(abs(x)).item(); }

/// The index of the average pooling: what comes before it is the last normalised layer.
std::size_t position_of_pooling(nn::Sequential& net) {
  for (std::size_t i = 0; i < net.size(); ++i) {
    if (dynamic_cast<nn::AvgPool2d*>(&net[i]) != nullptr) return i;
  }
  FAIL("the network has no average pooling");
  return 0;
}

/// The output of the first `modules` modules.
Tensor run(nn::Sequential& net, Tensor x, std::size_t modules) {
  for (std::size_t i = 0; i < modules; ++i) x = net[i](x);
  return x;
}

/// The gradients of the first `modules` modules with respect to every parameter and the input. 1e-7 is small
/// enough for few of the 30,000 ReLU and max-pool decisions to change inside a step, and large enough for
/// f64. On the executor and under sanitizers that would take minutes: one element of each tensor has to do
/// there.
GradcheckResult network_gradcheck(nn::Sequential& net, std::size_t modules, TensorOptions options) {
  net.to(options.dtype);
  net.to(options.device);
  Inputs inputs{leaf(Random().normal({2, 1, 28, 28}, options))};
  for (const Tensor& p : net.parameters()) inputs.push_back(p);
  const auto fn = [&](const Inputs& in) {
    manual_seed(11);  // the same dropout masks at every call
    return run(net, in[0], modules);
  };
#ifdef EVENKEEL_SANITIZED
  const int elements = 1;
#else
  const int elements = options.device.is_cpu() ? 4 : 1;
#endif
  return gradcheck(fn, inputs, {.eps = 1e-7, .max_elements = elements});
}

/// The largest gradient of the first convolution's weights for a random gradient of the output.
double first_gradient(nn::Sequential& net, std::size_t modules, TensorOptions options) {
  Random random;
  net.zero_grad();
  const Tensor y = run(net, random.normal({2, 1, 28, 28}, options), modules);
  y.backward(random.normal(y.shape(), options));
  return largest(net.parameters()[0].grad());
}

}  // namespace

TEST_CASE("names of norms are read and written") {
  CHECK(mnist::norm_names().size() == std::size(kNorms));
  for (const auto& [norm, name, parameters] : kNorms) {
    CHECK(mnist::parse_norm(name) == norm);
    CHECK(mnist::name_of(norm) == name);
  }
  CHECK(mentions(error_of([] { mnist::parse_norm("ln_row"); }), {"ln_row", "bn", "ln-row", "none"}));
}

TEST_CASE("the network has the parameters that the study lists") {
  for (const auto& [norm, name, parameters] : kNorms) {
    INFO(name);
    const nn::Sequential net = network(norm);
    CHECK(convolution_weights(net).size() == 9);
    CHECK(count(convolution_weights(net)) == 9160);
    CHECK(count(net.parameters()) == parameters);
    CHECK(net.named_parameters()[0].first == "0.weight");
    CHECK(net.parameters()[0].shape() == Shape{4, 1, 3, 3});
  }
}

TEST_CASE("the output is log-softmax of ten classes, for any number of images") {
  for (const auto& [norm, name, parameters] : kNorms) {
    manual_seed(1);
    nn::Sequential net = network(norm);
    for (std::int64_t n : {1, 3, 32}) {
      INFO(name << ", " << n << " images");
      const Tensor x = Random().normal({n, 1, 28, 28}, {});
      net.train(n > 1);
      const Tensor y = net(x);
      CHECK(y.shape() == Shape{n, 10});
      CHECK(close(sum(exp(y), {1}), Array({n}, 1)));
    }
  }
}

TEST_CASE("every norm starts from the same convolutions with the same seed") {
  manual_seed(7);
  const std::vector<Tensor> expected = convolution_weights(network(Norm::bn));
  for (const auto& [norm, name, parameters] : kNorms) {
    INFO(name);
    manual_seed(7);
    const std::vector<Tensor> weights = convolution_weights(network(norm));
    for (std::size_t i = 0; i < expected.size(); ++i) CHECK(same_bits(weights[i], expected[i]));
  }
  manual_seed(8);
  CHECK_FALSE(same_bits(convolution_weights(network(Norm::bn))[0], expected[0]));
}

TEST_CASE("the whole network has the right gradients, whatever the norm") {
  for (const auto& [norm, name, parameters] : kNorms) {
    for_each_device([&, norm = norm, name = name](TensorOptions options) {
      INFO(name);
      manual_seed(1);
      nn::Sequential net = network(norm);
      CHECK(network_gradcheck(net, net.size(), options));
      // A gradient of nothing would pass too.
      CHECK((first_gradient(net, net.size(), options) > 1e-3) == mnist::can_learn(norm));
      CHECK(network_gradcheck(net, position_of_pooling(net), options));
      CHECK(first_gradient(net, position_of_pooling(net), options) > 1e-3);
    });
  }
}

TEST_CASE("with ln-row every logit is zero and nothing can be learnt") {
  for_each_kind([](TensorOptions options) {
    manual_seed(1);
    nn::Sequential net = network(Norm::ln_row);
    net.to(options.dtype);
    net.to(options.device);
    Random random;
    const Tensor x = random.normal({4, 1, 28, 28}, options), target = random.labels(4, 10, options.device);
    const std::size_t pooling = position_of_pooling(net);
    const Tensor before = run(net, x, pooling);
    CHECK(largest(before) > 0.5);  // the rows themselves are normal...
    CHECK(largest(net[pooling](before)) < 16 * unit_roundoff(options.dtype));  // ...their mean is not there
    const Tensor y = net(x);
    CHECK(close(y, Array({4, 10}, -std::log(10.0))));
    nll_loss(y, target).backward();
    for (const Tensor& p : net.parameters()) CHECK(largest(p.grad()) < 1000 * unit_roundoff(options.dtype));
  });
}

TEST_CASE("with in every image gets the same output: a plane's mean is its beta") {
  for_each_kind([](TensorOptions options) {
    manual_seed(1);
    nn::Sequential net = network(Norm::in);
    net.to(options.dtype);
    net.to(options.device);
    Random random;
    const std::size_t pooling = position_of_pooling(net);
    const Tensor beta = random.normal({10}, options);
    net[pooling - 1].parameters()[1].set_data(beta);
    const Tensor x = random.normal({4, 1, 28, 28}, options), target = random.labels(4, 10, options.device);
    const Tensor expected = beta.reshape({1, 10, 1, 1}).broadcast_to({4, 10, 1, 1});
    CHECK(close(run(net, x, pooling + 1), to_array(expected)));
    nll_loss(net(x), target).backward();
    const std::vector<Tensor> weights = convolution_weights(net);
    for (std::size_t i = 0; i < 8; ++i)
      CHECK(largest(weights[i].grad()) < 1000 * unit_roundoff(options.dtype));
    CHECK(largest(weights[8].grad()) > 1e-2);  // only what comes after the pooling can move
  });
}

TEST_CASE("the other norms do learn: the gradient is there") {
  for (const auto& [norm, name, parameters] : kNorms) {
    if (!mnist::can_learn(norm)) continue;
    INFO(name);
    manual_seed(1);
    nn::Sequential net = network(norm);
    Random random;
    nll_loss(net(random.normal({8, 1, 28, 28}, {})), random.labels(8, 10, Device::cpu())).backward();
    for (const Tensor& p : convolution_weights(net)) CHECK(largest(p.grad()) > 1e-4);
  }
}

TEST_CASE("groups must divide every normalised layer") {
  CHECK(count(network(Norm::gn, 1).parameters()) == 9300);
  CHECK(mentions(error_of([] { network(Norm::gn, 4); }), {"GroupNorm", "4", "10"}));
  CHECK(mentions(error_of([] { network(Norm::gn, 3); }), {"GroupNorm", "3", "4"}));
}

TEST_CASE("instance norm is group norm with a group for each channel") {
  manual_seed(1);
  nn::Sequential net = network(Norm::in);
  net.eval();
  const Tensor x = Random().normal({3, 1, 28, 28}, {});
  const Tensor first = run(net, x, 2);  // convolution and ReLU
  CHECK(same_bits(net[2](first), group_norm(first, 4, ones({4}), zeros({4}))));
}
