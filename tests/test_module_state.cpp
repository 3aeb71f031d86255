// State that modules share, and state that comes from elsewhere.
#include <limits>

#include "compare.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/layers.h"
#include "evenkeel/nn/module.h"

using namespace evenkeel;
using namespace evenkeel::test;
using namespace evenkeel::nn;

namespace {

using Values = std::vector<double>;

NamedTensors without(const NamedTensors& state, const std::string& part_of_name) {
  NamedTensors rest;
  for (const auto& entry : state) {
    if (entry.first.find(part_of_name) == std::string::npos) rest.push_back(entry);
  }
  return rest;
}

/// Registers a tensor of another module as its own.
struct Tied : Module {
  Tensor weight;
  explicit Tied(const Tensor& shared) : weight(register_parameter("weight", shared)) {}
  Tensor forward(const Tensor& x) override { return linear(x, weight); }
};

}  // namespace

TEST_CASE("a module that is used twice has its parameters once and its state under both names") {
  Linear layer(2, 2);
  Sequential net{layer, ReLU(), Sequential{layer}, BatchNorm2d(3)};
  CHECK(names(net.named_parameters()) == Names{"0.weight", "0.bias", "3.weight", "3.bias"});
  CHECK(net.parameters().size() == 4);
  CHECK(names(without(net.state_dict(), "3.")) == Names{"0.weight", "0.bias", "2.0.weight", "2.0.bias"});

  NamedTensors state;
  for (const auto& [name, tensor] : net.state_dict())
    state.emplace_back(name, full(tensor.shape(), 7, tensor.options()));
  net.load_state_dict(state);
  CHECK(layer.parameters()[0].to_vector<double>() == Values{7, 7, 7, 7});
  net.to(DType::f64);
  CHECK(layer.parameters()[0].dtype() == DType::f64);
  CHECK(net.parameters().size() == 4);
}

TEST_CASE("a tensor that two modules register is one parameter") {
  Linear layer(3, 3, false);
  const Tied tied(layer.parameters()[0]);
  Sequential net{layer, tied};
  CHECK(names(net.named_parameters()) == Names{"0.weight"});
  CHECK(names(net.state_dict()) == Names{"0.weight", "1.weight"});
  Tensor weight = net.parameters()[0];
  sum(net(ones({1, 3}))).backward();
  CHECK(weight.grad().defined());
  net.zero_grad();
  CHECK_FALSE(weight.grad().defined());
  weight.requires_grad_(false);
  CHECK(net.parameters().size() == 1);
  const Linear other(3, 3, false);  // the same values are not the same parameter
  Sequential two{layer, other};
  CHECK(two.parameters().size() == 2);
}

TEST_CASE("copies of a module share state, and have modes of their own") {
  BatchNorm2d norm(2);
  Sequential net{norm, norm};
  net(Random().normal({4, 2, 3, 3}, {}));
  CHECK(norm.state_dict().back().second.item() == 2);  // both count the batch
  net.eval();
  CHECK(norm.training());
  CHECK_FALSE(net[0].training());
  CHECK_FALSE(net[1].training());
}

TEST_CASE("a state without num_batches_tracked loads, and nothing else may be missing") {
  Sequential source{Conv2d(1, 2, 3), BatchNorm2d(2), Sequential{BatchNorm2d(2)}},
      target = Sequential{Conv2d(1, 2, 3), BatchNorm2d(2), Sequential{BatchNorm2d(2)}};
  source(Random().normal({4, 1, 5, 5}, {}));
  const NamedTensors old = without(source.state_dict(), "num_batches_tracked");
  target.load_state_dict(old);
  for (const auto& [name, tensor] : target.state_dict()) {
    INFO(name);
    if (name.find("num_batches_tracked") != std::string::npos) CHECK(tensor.item() == 0);
  }
  CHECK(same_bits(target.state_dict()[2].second, source.state_dict()[2].second));
  BatchNorm2d alone(2);
  alone.load_state_dict(without(BatchNorm2d(2).state_dict(), "num_batches_tracked"));
  CHECK(mentions(error_of([&] { alone.load_state_dict(without(old, "running")); }), {"missing"}));
}

TEST_CASE("one error names all that is missing, unknown or of another shape") {
  Sequential net{Linear(2, 2), Linear(2, 3)};
  const std::string message = error_of([&] {
    net.load_state_dict({{"0.weight", ones({3})}, {"0.bias", ones({2})}, {"x", ones({1})}, {"y", ones({1})}});
  });
  CHECK(mentions(message, {"load_state_dict", "'0.weight' has shape [3]", "[2, 2]",
                           "'1.weight', '1.bias' missing", "has no \"x\", \"y\""}));
  CHECK(message.find('\n') == std::string::npos);
}

TEST_CASE("the error of a state is short and plain, whatever names there are") {
  Sequential net{Linear(2, 2)};
  NamedTensors state = net.state_dict();
  for (int i = 0; i < 3000; ++i) state.emplace_back(fmt::format("x{}", i), ones({1}));
  std::string message = error_of([&] { net.load_state_dict(state); });
  CHECK(mentions(message, {"\"x0\", \"x1\"", "\"x7\", and 2992 more"}));
  message = error_of([&] { net.load_state_dict({{"\u009b\n" + std::string(1'000'000, 'x'), ones({1})}}); });
  CHECK(mentions(message, {"'0.weight', '0.bias' missing", "has no \"\\u009b\\nxxx"}));
  CHECK(message.size() < 300);
  Sequential deep;
  for (int i = 0; i < 100; ++i) deep.push_back(Linear(1, 1));
  message = error_of([&] { deep.load_state_dict({}); });
  CHECK(mentions(message, {"'3.bias', and 192 more missing"}));
}

TEST_CASE("a state of any dtype loads, and a count in any of the shapes that PyTorch wrote") {
  for (DType dtype : {DType::f64, DType::f16, DType::bf16, DType::i64, DType::u8}) {
    INFO(name_of(dtype));
    BatchNorm2d norm(2);
    NamedTensors state;
    for (const auto& [name, tensor] : norm.state_dict())
      state.emplace_back(name, full(tensor.shape(), 3, {dtype}));
    state.back().second = full({1}, 5, {DType::i64});
    norm.load_state_dict(state);
    for (const auto& [name, tensor] : norm.state_dict()) {
      INFO(name);
      const bool is_count = name == "num_batches_tracked";
      CHECK(tensor.dtype() == (is_count ? DType::i64 : DType::f32));
      CHECK(max(tensor.to(DType::f64)).item() == (is_count ? 5 : 3));
    }
  }
}

TEST_CASE("a parameter that overlaps itself is refused before any other is written") {
  Sequential net{Tied(ones({2, 2})), Tied(ones({1, 2}).broadcast_to({2, 2}))};
  const NamedTensors state{{"0.weight", zeros({2, 2})}, {"1.weight", zeros({2, 2})}};
  CHECK(mentions(error_of([&] { net.load_state_dict(state); }), {"load_state_dict", "share a place"}));
  CHECK(net.state_dict()[0].second.to_vector<double>() == Values{1, 1, 1, 1});
}

TEST_CASE("a buffer without a value is in no state, and in nobody's way") {
  struct WithNothing : Module {
    WithNothing() { register_parameter("weight", ones({2})), register_buffer("nothing", Tensor()); }
    Tensor forward(const Tensor& x) override { return x; }
  };
  WithNothing module;
  CHECK(module.state_dict().size() == 1);
  module.load_state_dict(module.state_dict());
  module.to(DType::f64);
  CHECK(module.parameters()[0].dtype() == DType::f64);
}

TEST_CASE("names in a module are unique, not empty and without dots; modules are there") {
  struct Open : Module {
    using Module::register_buffer;
    using Module::register_module;
    using Module::register_parameter;
    Tensor forward(const Tensor& x) override { return x; }
  };
  Open module;
  module.register_parameter("a", ones({1}));
  CHECK(mentions(error_of([&] { module.register_parameter("a", ones({1})); }), {"'a'", "already"}));
  CHECK(mentions(error_of([&] { module.register_buffer("a", ones({1})); }), {"'a'", "already"}));
  CHECK(mentions(error_of([&] { module.register_buffer("", ones({1})); }), {"''", "empty"}));
  CHECK(mentions(error_of([&] { module.register_parameter("a.b", ones({1})); }), {"'a.b'", "dot"}));
  CHECK(mentions(error_of([&] { module.register_module("c", nullptr); }), {"'c'", "null"}));
  CHECK(module.state_dict().size() == 1);
}

TEST_CASE("a module that a Sequential does not have is an error") {
  Sequential net{ReLU(), ReLU()};
  CHECK(mentions(error_of([&] { net[2]; }), {"Sequential", "2"}));
  CHECK(mentions(error_of([&] { net[static_cast<std::size_t>(-1)]; }), {"Sequential"}));
}
