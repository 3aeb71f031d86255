// What an optimizer and its schedule share with the modules they train: parameters that move, that are
// shared, that are not finite; and the learning rate.
#include "evenkeel/nn/optim.h"

#include <cmath>
#include <limits>

#include "compare.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/layers.h"

using namespace evenkeel;
using namespace evenkeel::test;
using optim::SGD;
using optim::SgdOptions;

namespace {

using Values = std::vector<double>;

Tensor make(const Values& values, TensorOptions options) {
  return from_vector(values, {static_cast<std::int64_t>(values.size())}).to(options.dtype).to(options.device);
}

/// Gives p the gradient g.
void set_gradient(Tensor p, const Tensor& g) {
  p.zero_grad();
  p.backward(g);
}

/// A linear layer [1 -> 1] without bias, of weight 1.
nn::Linear unit() {
  nn::Linear layer(1, 1, false);
  layer.load_state_dict({{"weight", ones({1, 1})}});
  return layer;
}

/// One step on the sum of layer(x), x = 1 of the options given: its gradient is 1.
void step_once(nn::Linear& layer, SGD& sgd, TensorOptions options) {
  layer.zero_grad();
  sum(layer(ones({1, 1}, options))).backward();
  sgd.step();
}

}  // namespace

TEST_CASE("momentum and gradients go along when a module moves between steps") {
  for_each_device_in(DType::f64, [](TensorOptions there) {
    for (const TensorOptions from :
         {TensorOptions{DType::f32, Device::cpu()}, TensorOptions{DType::f64, there.device}}) {
      INFO("from " << name_of(from.dtype) << " on " << from.device.str());
      nn::Linear layer = unit();
      layer.to(from.dtype);
      layer.to(from.device);
      SGD sgd(layer.parameters(), {.lr = 0.5, .momentum = 0.5});
      step_once(layer, sgd, from);
      layer.to(there.dtype);
      layer.to(there.device);
      const Tensor weight = layer.parameters()[0];
      CHECK(weight.grad().dtype() == there.dtype);
      CHECK(weight.grad().device() == there.device);
      CHECK(weight.grad().item() == 1);
      CHECK(sgd.state_dict().at(1).second.dtype() == there.dtype);
      CHECK(sgd.momentum_buffer(weight).dtype() == there.dtype);
      CHECK(sgd.momentum_buffer(weight).device() == there.device);
      step_once(layer, sgd, there);
      CHECK(weight.item() == 1 - 0.5 * 1 - 0.5 * 1.5);
      layer.to(DType::f32);  // with the gradient that is there
      layer.to(Device::cpu());
      sgd.set_lr(0.25);
      sgd.step();
      CHECK(weight.item() == 1 - 0.5 * 1 - 0.5 * 1.5 - 0.25 * 1.75);
      CHECK(sgd.state_dict().at(1).second.dtype() == DType::f32);
    }
  });
}

TEST_CASE("a batch norm's statistics go along, and its count stays a whole number") {
  for_each_device_in(DType::f64, [](TensorOptions there) {
    nn::BatchNorm2d norm(2);
    norm(Random().normal({4, 2, 3, 3}, {}));
    norm.to(there.dtype);
    norm.to(there.device);
    norm(Random().normal({4, 2, 3, 3}, there));
    for (const auto& [name, tensor] : norm.state_dict()) {
      INFO(name);
      CHECK(tensor.device() == there.device);
      CHECK(tensor.dtype() == (name == "num_batches_tracked" ? DType::i64 : there.dtype));
    }
    CHECK(norm.state_dict().back().second.item() == 2);
  });
}

TEST_CASE("a parameter that two modules share is stepped once") {
  for_each_device_in(DType::f32, [](TensorOptions options) {
    nn::Linear layer(2, 2, false);
    layer.load_state_dict({{"weight", from_vector<float>({1, 0, 0, 1}, {2, 2})}});
    nn::Sequential net{layer, nn::ReLU(), layer};
    net.to(options.device);
    CHECK(net.parameters().size() == 1);
    SGD sgd(net.parameters(), {.lr = 0.1});
    sum(net(from_vector<float>({1, 2}, {1, 2}, options.device))).backward();
    sgd.step();
    CHECK(close(net.parameters()[0], to_array(from_vector<double>({0.8, -0.4, -0.2, 0.6}, {2, 2})), 1e-6));
  });
}

TEST_CASE("SGD refuses a parameter that is named twice") {
  const Tensor p = leaf(ones({2})), q = leaf(ones({2}));
  CHECK(mentions(error_of([&] { SGD({q, p, p}, {.lr = 0.1}); }), {"SGD", "1 and 2", "same tensor"}));
  SGD({p, q}, {.lr = 0.1});  // equal values are no reason
}

TEST_CASE("SGD refuses what is no dense parameter, before it changes anything") {
  CHECK(mentions(error_of([] { SGD({Tensor()}, {.lr = 0.1}); }), {"SGD"}));
  Tensor p = leaf(ones({2, 3}));
  SGD sgd({p}, {.lr = 0.1, .momentum = 0.5});
  CHECK(mentions(error_of([&] {
                   sgd.load_state_dict({{"lr", ones({})}, {"0.momentum_buffer", Tensor()}});
                 }),
                 {"load_state_dict", "0.momentum_buffer"}));
  const Tensor view = ones({3, 2}).transpose(0, 1);
  p.set_data(view);
  set_gradient(p, ones({2, 3}));
  CHECK(mentions(error_of([&] { sgd.step(); }), {"SGD", "dense", "[2, 3]"}));
  CHECK(view.to_vector<double>() == Values(6, 1));
}

TEST_CASE("a term of the rule that is switched off does nothing to infinities") {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for_each_kind([&](TensorOptions options) {
    for (const SgdOptions& how :
         {SgdOptions{.lr = 0.5}, SgdOptions{.lr = 0.5, .momentum = 0.5},
          SgdOptions{.lr = 0.5, .momentum = 0.5, .nesterov = true},
          SgdOptions{.lr = 0.5, .l1_mode = optim::L1Mode::proximal}, SgdOptions{.lr = 0.5, .l1 = 0.25}}) {
      INFO("momentum " << how.momentum << ", l1 " << how.l1);
      Tensor p = leaf(make({inf, -inf, nan, 1}, options));
      SGD sgd({p}, how);
      for (int step = 0; step < 2; ++step) {
        set_gradient(p, make({1, 1, 1, 0}, options));
        sgd.step();
      }
      const Values after = p.to_vector<double>();
      CHECK(after[0] == inf);
      CHECK(after[1] == -inf);
      CHECK(std::isnan(after[2]));
      CHECK(after[3] <= 1);
    }
    Tensor decayed = leaf(make({inf}, options));
    SGD sgd({decayed}, {.lr = 0.5, .weight_decay = 0.5});
    set_gradient(decayed, make({1}, options));
    sgd.step();
    CHECK(std::isnan(decayed.item()));  // infinity - infinity
  });
}

TEST_CASE("StepLR multiplies the rate that the optimizer has") {
  SGD sgd({leaf(ones({1}))}, {.lr = 1});
  optim::StepLR schedule(sgd, 3, 0.1);
  schedule.step();
  sgd.set_lr(0.5);
  schedule.step();
  CHECK(sgd.lr() == 0.5);
  schedule.step();
  CHECK(sgd.lr() == 0.5 * 0.1);
  for (int epoch = 0; epoch < 3; ++epoch) schedule.step();
  CHECK(sgd.lr() == 0.5 * 0.1 * 0.1);
}

TEST_CASE("a schedule that goes on from a state gives the rates of one that never stopped") {
  SGD whole({leaf(ones({1}))}, {.lr = 0.01});
  optim::StepLR schedule(whole, 6);
  for (int stop = 1; stop < 20; ++stop) {
    SGD other({leaf(ones({1}))}, {.lr = 0.01});
    optim::StepLR resumed(other, 6);
    schedule.step();
    other.load_state_dict(whole.state_dict());
    resumed.load_state_dict(schedule.state_dict());
    SGD on({leaf(ones({1}))}, {.lr = 0.01});
    optim::StepLR from_start(on, 6);
    for (int epoch = 0; epoch < 20; ++epoch) {
      if (epoch >= stop) resumed.step();
      from_start.step();
    }
    CHECK(other.lr() == on.lr());
  }
}

TEST_CASE("SGD leaves what is frozen alone") {
  nn::Linear layer(2, 2);
  for (Tensor p : layer.parameters()) p.requires_grad_(false);
  nn::Sequential net{layer, nn::Linear(2, 1)};
  const std::vector<double> before = layer.parameters()[0].to_vector<double>();
  SGD sgd(net.parameters(), {.lr = 0.1, .momentum = 0.5});
  const auto momentum_of = [&](std::size_t i) { return sgd.momentum_buffer(net.parameters()[i]); };
  for (std::size_t i = 0; i < 4; ++i) CHECK(momentum_of(i).shape() == net.parameters()[i].shape());
  CHECK(mentions(error_of([&] { sgd.momentum_buffer(ones({7})); }), {"SGD", "[7]"}));
  sum(net(ones({3, 2}))).backward();
  sgd.step();
  CHECK(layer.parameters()[0].to_vector<double>() == before);
  CHECK(net.parameters()[3].grad().item() == 3);
}

TEST_CASE("an optimizer's state loads into parameters of another dtype") {
  const Tensor p = leaf(ones({2})), q = leaf(ones({2}, {DType::f64}));
  SGD from({p}, {.lr = 0.5, .momentum = 0.5}), to({q}, {.lr = 0.1, .momentum = 0.5});
  set_gradient(p, tensor({1, 3}));
  from.step();
  to.load_state_dict(from.state_dict());
  CHECK(to.momentum_buffer(q).dtype() == DType::f64);
  CHECK(to.momentum_buffer(q).to_vector<double>() == std::vector<double>{1, 3});
}

TEST_CASE("a schedule may end at a rate of 0") {
  SGD sgd({leaf(ones({1}))}, {.lr = 1});
  optim::StepLR schedule(sgd, 1, 0);
  schedule.step();
  CHECK(sgd.lr() == 0);
  CHECK(mentions(error_of([&] { optim::StepLR(sgd, 1, -0.5); }), {"StepLR", "-0.5"}));
}

TEST_CASE("a loaded buffer means nothing without momentum, and bad states are refused") {
  const Tensor p = leaf(ones({1}));
  SGD sgd({p}, {.lr = 0.5});
  const NamedTensors state{{"lr", full({}, 0.5, {DType::f64})},
                           {"0.momentum_buffer", full({1}, std::numeric_limits<double>::infinity())}};
  sgd.load_state_dict(state);
  set_gradient(p, ones({1}));
  sgd.step();
  CHECK(p.item() == 0.5);
  for (double lr : {-1.0, std::nan("")}) {
    CHECK(mentions(error_of([&] { sgd.load_state_dict({{"lr", full({}, lr, {DType::f64})}}); }), {"lr"}));
    CHECK(mentions(error_of([&] { sgd.set_lr(lr); }), {"lr"}));
  }
  NamedTensors odd = state;
  odd[1].first = "00.momentum_buffer";
  CHECK(mentions(error_of([&] { sgd.load_state_dict(odd); }), {"'00.momentum_buffer'"}));
}
