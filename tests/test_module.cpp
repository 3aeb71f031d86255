// Modules: names, state, modes, initial weights, and each layer's own rules.
#include "evenkeel/nn/module.h"

#include <cmath>
#include <limits>

#include "compare.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/layers.h"
#include "evenkeel/nn/optim.h"

using namespace evenkeel;
using namespace evenkeel::test;
using namespace evenkeel::nn;

namespace {

using Values = std::vector<double>;

Tensor find(const NamedTensors& tensors, const std::string& name) {
  for (const auto& [key, tensor] : tensors) {
    if (key == name) return tensor;
  }
  FAIL("there is no " << name);
  return {};
}

/// Deep copies, to compare with later.
NamedTensors snapshot(const Module& module) {
  NamedTensors copies;
  for (const auto& [name, tensor] : module.state_dict()) copies.emplace_back(name, tensor.detach().clone());
  return copies;
}

Sequential small_net() {
  return Sequential{Conv2d(2, 3, 3), BatchNorm2d(3), ReLU(), Sequential{GlobalAvgPool2d(), Linear(3, 4)}};
}

}  // namespace

TEST_CASE("tensors are named and ordered as in PyTorch") {
  const Sequential net = small_net();
  CHECK(names(net.named_parameters()) ==
        Names{"0.weight", "0.bias", "1.weight", "1.bias", "3.1.weight", "3.1.bias"});
  CHECK(names(net.state_dict()) == Names{"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean",
                                         "1.running_var", "1.num_batches_tracked", "3.1.weight", "3.1.bias"});
  CHECK(net.parameters().size() == 6);
  for (const Tensor& p : net.parameters()) CHECK(p.requires_grad());
  CHECK(find(net.state_dict(), "1.num_batches_tracked").dtype() == DType::i64);
  CHECK(find(net.state_dict(), "1.num_batches_tracked").shape() == Shape{});
  CHECK_FALSE(find(net.state_dict(), "1.running_mean").requires_grad());
}

TEST_CASE("layers have the parameters that their options ask for") {
  CHECK(names(Conv2d(4, 6, {3, 2}, {.groups = 2, .bias = false}).state_dict()) == Names{"weight"});
  CHECK(Conv2d(4, 6, {3, 2}, {.groups = 2}).parameters()[0].shape() == Shape{6, 2, 3, 2});
  CHECK(names(Linear(2, 3, false).state_dict()) == Names{"weight"});
  CHECK(Linear(2, 3).parameters()[0].shape() == Shape{3, 2});
  CHECK(BatchNorm2d(3, {.affine = false, .track_running_stats = false}).state_dict().empty());
  CHECK(names(BatchNorm2d(3, {.affine = false}).state_dict()) ==
        Names{"running_mean", "running_var", "num_batches_tracked"});
  CHECK(names(GroupNorm(2, 4).state_dict()) == Names{"weight", "bias"});
  CHECK(GroupNorm(2, 4, {.affine = false}).state_dict().empty());
  CHECK(InstanceNorm2d(4).state_dict().empty());
  CHECK(names(InstanceNorm2d(4, {.affine = true}).state_dict()) == Names{"weight", "bias"});
  CHECK(LayerNorm({4, 5, 6}).parameters()[0].shape() == Shape{4, 5, 6});
  CHECK(LayerNorm({4}, {.affine = false}).state_dict().empty());
  CHECK(LayerNorm2d(7).parameters()[1].shape() == Shape{7});
  CHECK(ReLU().state_dict().empty());
}

TEST_CASE("initial weights are U(-b, b) with b = 1 / sqrt(fan_in); norms start as the identity") {
  manual_seed(1);
  const auto check = [](const Tensor& p, double bound) {
    const double largest = max(abs(p)).item();
    CHECK(largest <= bound);
    CHECK(largest > 0.95 * bound);
    // The variance of U(-b, b) is b^2 / 3; five standard errors.
    const double n = static_cast<double>(p.numel());
    CHECK(std::abs(mean(p * p).item() / (bound * bound) - 1 / 3.0) < 5 * std::sqrt(4 / 45.0 / n));
    CHECK(std::abs(mean(p).item()) < 5 * bound / std::sqrt(3 * n));
  };
  const Conv2d conv(16, 96, 3);
  check(conv.parameters()[0], 1 / std::sqrt(16 * 9));
  check(conv.parameters()[1], 1 / std::sqrt(16 * 9));
  check(Conv2d(16, 96, 3, {.groups = 4}).parameters()[0], 1 / std::sqrt(4 * 9));
  check(Linear(50, 100).parameters()[0], 1 / std::sqrt(50));
  check(Linear(50, 100).parameters()[1], 1 / std::sqrt(50));
  const NamedTensors state = BatchNorm2d(3).state_dict();
  CHECK(find(state, "weight").to_vector<double>() == Values{1, 1, 1});
  CHECK(find(state, "bias").to_vector<double>() == Values{0, 0, 0});
  CHECK(find(state, "running_mean").to_vector<double>() == Values{0, 0, 0});
  CHECK(find(state, "running_var").to_vector<double>() == Values{1, 1, 1});
  CHECK(find(state, "num_batches_tracked").item() == 0);
}

TEST_CASE("the same seed makes the same module") {
  manual_seed(3);
  const Sequential first = small_net();
  manual_seed(3);
  const Sequential second = small_net();
  check_same(first.state_dict(), second.state_dict());
  const Sequential third = small_net();
  CHECK_FALSE(same_bits(first.parameters()[0], third.parameters()[0]));
}

TEST_CASE("state_dict shares memory, load_state_dict copies and converts") {
  Sequential source = small_net(), target = small_net();
  NamedTensors state = source.state_dict();
  find(state, "1.running_mean").fill_(5);
  CHECK(find(source.state_dict(), "1.running_mean").to_vector<double>() == Values{5, 5, 5});

  const std::vector<Tensor> handles = target.parameters();
  target.load_state_dict(state);
  check_same(source.state_dict(), target.state_dict());
  CHECK(same_bits(handles[0], source.parameters()[0]));  // an optimizer's handle sees the new values
  CHECK_FALSE(handles[0].storage() == source.parameters()[0].storage());

  for (auto& [name, tensor] : state) {
    if (is_floating(tensor.dtype())) tensor = tensor.detach().to(DType::f64);
  }
  std::swap(state.front(), state.back());  // the order does not matter
  target.load_state_dict(state);
  check_same(source.state_dict(), target.state_dict());
  CHECK(target.parameters()[0].dtype() == DType::f32);
}

TEST_CASE("load_state_dict that fails leaves the module as it was") {
  Sequential net = small_net();
  const NamedTensors before = snapshot(net);
  const auto check_refused = [&](const Names& words, auto change) {
    NamedTensors state = snapshot(net);
    for (auto& [name, tensor] : state) tensor = zeros_like(tensor);
    change(state);
    CHECK(mentions(error_of([&] { net.load_state_dict(state); }), words));
    check_same(net.state_dict(), before);
  };
  check_refused({"3.1.bias", "missing"}, [](NamedTensors& s) { s.pop_back(); });
  check_refused({"extra"}, [](NamedTensors& s) { s.emplace_back("extra", zeros({1})); });
  check_refused({"3.1.bias", "[5]", "[4]"}, [](NamedTensors& s) { s.back().second = zeros({5}); });
  check_refused({"3.1.bias", "[1, 4]", "[4]"}, [](NamedTensors& s) { s.back().second = zeros({1, 4}); });
  check_refused({"twice"}, [](NamedTensors& s) { s.push_back(s.front()); });
  check_refused({"3.1.bias"}, [](NamedTensors& s) { s.back().second = Tensor(); });
}

TEST_CASE("train and eval reach every child") {
  Sequential net{Dropout(0.5), Sequential{Dropout(0.5)}};
  const Tensor x = ones({1000});
  CHECK(net.training());
  manual_seed(1);
  CHECK_FALSE(same_bits(net(x), x));
  net.eval();
  CHECK_FALSE(net.training());
  CHECK(same_bits(net(x), x));
  net.train();
  CHECK_FALSE(same_bits(net(x), x));
}

TEST_CASE("to(DType) converts parameters and buffers under the handles that exist") {
  Sequential net = small_net();
  const std::vector<Tensor> handles = net.parameters();
  const Tensor x = Random().normal({5, 2, 6, 6}, {});
  const Array expected = to_array(net(x));
  net.to(DType::f64);
  for (const Tensor& handle : handles) {
    CHECK(handle.dtype() == DType::f64);
    CHECK(handle.requires_grad());
  }
  CHECK(find(net.state_dict(), "1.running_var").dtype() == DType::f64);
  CHECK(find(net.state_dict(), "1.num_batches_tracked").dtype() == DType::i64);
  Tensor y = net(x.to(DType::f64));
  CHECK(close(y, expected, 1e-5));
  sum(y * y).backward();
  for (const Tensor& handle : handles) CHECK(handle.grad().dtype() == DType::f64);
  net.zero_grad();
  for (const Tensor& handle : handles) CHECK_FALSE(handle.grad().defined());
  CHECK(mentions(error_of([&] { net.to(DType::i64); }), {"i64"}));
}

TEST_CASE("modules run on every device") {
  const Tensor x = Random().normal({5, 2, 6, 6}, {});
  Sequential net = small_net();
  const NamedTensors state = snapshot(net);
  const Array expected = to_array(net(x));
  for (Device device : devices()) {
    INFO(device.str());
    net.load_state_dict(state);
    net.to(device);
    for (const auto& [name, tensor] : net.state_dict()) CHECK(tensor.device() == device);
    CHECK(close(net(x.to(device)), expected));
  }
}

TEST_CASE("Sequential runs its modules in order, and grows") {
  Sequential net;
  CHECK(net.size() == 0);
  const Tensor x = tensor({-1, 2});
  CHECK(net(x).to_vector<double>() == Values{-1, 2});
  net.push_back(ReLU());
  net.push_back(Flatten());
  CHECK(net.size() == 2);
  CHECK(net(x).shape() == Shape{2, 1});
  CHECK(net[0](x).to_vector<double>() == Values{0, 2});
}

TEST_CASE("every layer calls its function") {
  const Tensor x = Random().normal({3, 4, 6, 6}, {});
  Conv2d conv(4, 6, 3, {.stride = 2, .padding = 1, .groups = 2});
  CHECK(same_bits(conv(x), conv2d(x, conv.parameters()[0], conv.parameters()[1],
                                  {.stride = 2, .padding = 1, .groups = 2})));
  Linear fc(6, 2);
  CHECK(same_bits(fc(x), linear(x, fc.parameters()[0], fc.parameters()[1])));
  CHECK(same_bits(GroupNorm(2, 4, {.eps = 0.1})(x), group_norm(x, 2, ones({4}), zeros({4}), 0.1)));
  CHECK(same_bits(InstanceNorm2d(4, {.eps = 0.1})(x), group_norm(x, 4, {}, {}, 0.1)));
  CHECK(same_bits(LayerNorm({6, 6}, {.eps = 0.1, .affine = false})(x), layer_norm(x, {6, 6}, {}, {}, 0.1)));
  CHECK(same_bits(LayerNorm2d(4, {.eps = 0.1})(x), layer_norm2d(x, ones({4}), zeros({4}), 0.1)));
  CHECK(same_bits(ReLU()(x), relu(x)));
  CHECK(same_bits(Identity()(x), x));
  CHECK(same_bits(MaxPool2d(2, {.stride = 1})(x), max_pool2d(x, 2, {.stride = 1})));
  CHECK(same_bits(AvgPool2d({2, 3})(x), avg_pool2d(x, {2, 3})));
  CHECK(same_bits(GlobalAvgPool2d()(x), mean(x, {2, 3}).reshape({3, 4})));
  CHECK(Flatten()(x).shape() == Shape{3, 144});
  CHECK(same_bits(LogSoftmax(1)(x), log_softmax(x, 1)));
}

TEST_CASE("BatchNorm2d tracks statistics in training and uses them in evaluation") {
  BatchNorm2d norm(3, {.eps = 0.01, .momentum = 0.25});
  const Tensor x = Random().normal({4, 3, 5, 5}, {}, 2, 3);
  Tensor mean = zeros({3}), var = ones({3});
  const Tensor expected = batch_norm(x, mean, var, ones({3}), zeros({3}), true, 0.25, 0.01);
  CHECK(same_bits(norm(x), expected));
  CHECK(same_bits(find(norm.state_dict(), "running_mean"), mean));
  CHECK(same_bits(find(norm.state_dict(), "running_var"), var));
  CHECK(find(norm.state_dict(), "num_batches_tracked").item() == 1);
  norm(x);
  CHECK(find(norm.state_dict(), "num_batches_tracked").item() == 2);
  norm.load_state_dict({{"weight", ones({3})},
                        {"bias", zeros({3})},
                        {"running_mean", mean},
                        {"running_var", var},
                        {"num_batches_tracked", zeros({}, {DType::i64})}});
  norm.eval();
  CHECK(same_bits(norm(x), batch_norm(x, mean, var, ones({3}), zeros({3}), false, 0.25, 0.01)));
  CHECK(find(norm.state_dict(), "num_batches_tracked").item() == 0);
  CHECK(same_bits(find(norm.state_dict(), "running_mean"), mean));

  BatchNorm2d untracked(3, {.affine = false, .track_running_stats = false});
  untracked.eval();
  CHECK(same_bits(untracked(x), batch_norm(x, {}, {}, {}, {}, true)));
}

TEST_CASE("Dropout draws a new mask each time, from the default generator") {
  Dropout drop(0.5);
  const Tensor x = ones({1000});
  manual_seed(4);
  const Tensor first = drop(x), second = drop(x);
  CHECK_FALSE(same_bits(first, second));
  manual_seed(4);
  CHECK(same_bits(drop(x), first));
  CHECK(same_bits(drop(x), second));
  Dropout none(0);
  CHECK(same_bits(none(x), x));
}

TEST_CASE("Dropout draws from the generator that a module around it was given, fused or not") {
  for_each_kind([](TensorOptions options) {
    Generator generator(5), same(5), of_weights(1);
    Sequential net{Conv2d(1, 2, 3, {.bias = false, .generator = &of_weights}), ReLU(), Dropout(0.5)};
    CHECK(of_weights.count() == 1);
    net.push_back(Sequential{Dropout(0.25)});
    net.to(options.dtype);
    net.to(options.device);
    const Tensor x = Random().uniform({2, 1, 8, 8}, options, 1, 2);
    net.set_generator(&generator);
    const std::uint64_t before = default_generator().count();
    const Tensor y = net(x);
    CHECK(generator.count() == 2);
    Sequential copy = net;  // keeps it
    copy(x);
    CHECK(generator.count() == 4);
    CHECK(default_generator().count() == before);
    // The keys are those that the default generator would hand out.
    net.set_generator(nullptr);
    manual_seed(5);
    CHECK(same_bits(net(x), y));
    CHECK(default_generator().count() == 2);
    CHECK(generator.count() == 4);
    net.set_generator(&same);
    CHECK(same_bits(net(x), y));
  });
}

TEST_CASE("layers draw their initial weights from the generator that they are given") {
  Generator one(5);
  const Conv2d conv(2, 3, 3, {.generator = &one});
  const Linear linear(4, 2, true, &one);
  CHECK(one.count() == 4);
  manual_seed(5);
  const NamedTensors expected = snapshot(Sequential{Conv2d(2, 3, 3), Linear(4, 2)});
  const NamedTensors actual = snapshot(Sequential{conv, linear});
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) CHECK(same_bits(actual[i].second, expected[i].second));
}

TEST_CASE("layers refuse impossible sizes") {
  for (double p : {-0.1, 1.0, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK(mentions(error_of([&] { Dropout{p}; }), {"Dropout"}));
  }
  CHECK(mentions(error_of([] { GroupNorm(3, 8); }), {"GroupNorm", "3", "8"}));
  CHECK(mentions(error_of([] { InstanceNorm2d(0); }), {"InstanceNorm2d", "0"}));
  CHECK(mentions(error_of([] {
                   InstanceNorm2d(4)(zeros({2, 8, 3, 3}));
                 }),
                 {"InstanceNorm2d", "[2, 8, 3, 3]", "4"}));
  CHECK(mentions(error_of([] { InstanceNorm2d(4)(zeros({4, 3, 3})); }), {"InstanceNorm2d", "[4, 3, 3]"}));
  CHECK(mentions(error_of([] { GroupNorm(0, 8); }), {"GroupNorm", "0", "8"}));
  CHECK(mentions(error_of([] { BatchNorm2d{0}; }), {"BatchNorm2d", "0"}));
  CHECK(mentions(error_of([] { LayerNorm{Shape{}}; }), {"LayerNorm", "[]"}));
  CHECK(mentions(error_of([] { LayerNorm{Shape{3, 0}}; }), {"LayerNorm", "[3, 0]"}));
  CHECK(mentions(error_of([] { LayerNorm2d{-1}; }), {"LayerNorm2d", "-1"}));
  CHECK(mentions(error_of([] { Conv2d(3, 8, 3, {.groups = 2}); }), {"Conv2d", "2", "3"}));
  CHECK(mentions(error_of([] { Conv2d(4, 8, 0); }), {"Conv2d", "0"}));
  CHECK(mentions(error_of([] { Linear(0, 3); }), {"Linear", "0"}));
}

TEST_CASE("an optimizer trains a module: the loss falls") {
  manual_seed(2);
  Sequential net{Linear(4, 16), ReLU(), Linear(16, 3)};
  Random random;
  const Tensor x = random.normal({60, 4}, {}), target = argmax(x.slice(1, 0, 3), 1);
  optim::SGD sgd(net.parameters(), {.lr = 0.1, .momentum = 0.9});
  const double before = cross_entropy(net(x), target).item();
  for (int step = 0; step < 100; ++step) {
    net.zero_grad();
    cross_entropy(net(x), target).backward();
    sgd.step();
  }
  CHECK(cross_entropy(net(x), target).item() < 0.2 * before);
}

namespace {

struct Twice : ReLU {
  Tensor forward(const Tensor& x) override { return x * 2.0; }
};
struct Large : GroupNorm {
  using GroupNorm::GroupNorm;
  Tensor forward(const Tensor& x) override { return GroupNorm::forward(x) * 100.0; }
};
struct Shifted : LayerNorm {
  using LayerNorm::LayerNorm;
  Tensor forward(const Tensor& x) override { return LayerNorm::forward(x) + 1.0; }
};
struct Squared : MaxPool2d {
  using MaxPool2d::MaxPool2d;
  Tensor forward(const Tensor& x) override { return MaxPool2d::forward(x) * MaxPool2d::forward(x); }
};

}  // namespace

TEST_CASE("Sequential calls the forward of a class that derives from a layer") {
  for_each_device_in(DType::f32, [](TensorOptions options) {
    Random random;
    const Tensor x = random.normal({2, 4, 6, 6}, options);
    CHECK(same_bits(Sequential{Twice()}(x), x * 2.0));
    const auto check_alone = [&](auto layer) {
      layer.to(options.device);
      Conv2d conv(4, 4, 3);
      conv.to(options.device);
      CHECK(same_bits(Sequential{ReLU(), layer}(x), layer.forward(relu(x))));
      CHECK(close(Sequential{conv, ReLU(), layer, ReLU()}(x), to_array(relu(layer.forward(relu(conv(x)))))));
    };
    check_alone(Large(1, 4));
    check_alone(Squared(2));
    Sequential rows{ReLU(), Shifted(Shape{6})};
    rows.to(options.device);
    CHECK(same_bits(rows(x), layer_norm(relu(x), {6}, ones({6}, options), zeros({6}, options)) + 1.0));
  });
}

TEST_CASE("a parameter is known by its handle, not by its memory, frozen or not") {
  struct Halves : Module {
    Tensor both = ones({4}), first = register_parameter("first", both.slice(0, 0, 2)),
           second = register_parameter("second", both.slice(0, 2, 4)),
           again = register_parameter("again", first);
    Tensor forward(const Tensor& x) override { return x * first + second; }
  };
  Halves halves;
  CHECK(halves.parameters().size() == 2);
  for (Tensor p : halves.parameters()) p.requires_grad_(false);
  CHECK(halves.parameters().size() == 2);
}
