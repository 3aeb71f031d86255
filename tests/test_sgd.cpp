// SGD steps against the rule, and the learning-rate schedule.
#include <cmath>
#include <limits>

#include "compare.h"
#include "evenkeel/core/autograd.h"
#include "evenkeel/core/cuda.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/optim.h"
#include "reference/sgd.h"

using namespace evenkeel;
using namespace evenkeel::test;
using optim::L1Mode;
using optim::SGD;
using optim::SgdOptions;

namespace {

struct SgdCase {
  SgdOptions options;
  const char* reason;
};
const SgdCase kSgdCases[] = {
    {{.lr = 0.1}, "plain"},
    {{.lr = 0}, "nothing moves"},
    {{.lr = 0.1, .momentum = 0.9}, "momentum"},
    {{.lr = 0.1, .momentum = 0.9, .nesterov = true}, "Nesterov"},
    {{.lr = 0.1, .weight_decay = 0.3}, "weight decay"},
    {{.lr = 0.1, .l1 = 0.2}, "L1 by its subgradient"},
    {{.lr = 0.1, .l1 = 0.2, .l1_mode = L1Mode::proximal}, "L1 by the proximal step"},
    {{.lr = 0.01, .momentum = 0.9, .l1 = 1e-5}, "the study's"},
    {{.lr = 0.05, .momentum = 0.8, .weight_decay = 0.1, .nesterov = true, .l1 = 0.1}, "everything"},
    {{.lr = 0.05,
      .momentum = 0.8,
      .weight_decay = 0.1,
      .nesterov = true,
      .l1 = 0.1,
      .l1_mode = L1Mode::proximal},
     "everything, proximal"},
};

reference::Sgd as_reference(const SgdOptions& o) {
  return {o.lr, o.momentum, o.weight_decay, o.l1, o.nesterov, o.l1_mode == L1Mode::proximal};
}

/// Gives p the gradient g.
void set_gradient(Tensor p, const Tensor& g) {
  p.zero_grad();
  sum(p * g).backward();
}

Tensor make(const std::vector<double>& values, TensorOptions options) {
  return from_vector(values, {static_cast<std::int64_t>(values.size())}).to(options.dtype).to(options.device);
}

}  // namespace

TEST_CASE("SGD follows the rule over several steps and parameters") {
  // One element, sizes that are no multiples of anything, one past a block of 16384.
  const Shape shapes[] = {{}, {7}, {3, 11}, {4, 1, 3, 3}, {16385}};
  for_each_kind([&](TensorOptions options) {
    for (const SgdCase& c : kSgdCases) {
      INFO(c.reason);
      Random random;
      std::vector<Tensor> parameters;
      std::vector<Array> expected, velocity;
      for (const Shape& shape : shapes) {
        Tensor p = leaf(random.normal(shape, options));
        if (p.numel() > 1) {
          const NoGrad guard;
          p.reshape({-1}).slice(0, 0, 2).fill_(0);  // where |p| has its kink
        }
        parameters.push_back(p);
        expected.push_back(to_array(p));
        velocity.emplace_back(expected.back().shape);
      }
      SGD sgd(parameters, c.options);
      for (int step = 0; step < 4; ++step) {
        INFO("step " << step);
        for (std::size_t i = 0; i < parameters.size(); ++i) {
          const Tensor g = random.normal(parameters[i].shape(), options);
          set_gradient(parameters[i], g);
          reference::sgd_step(expected[i], velocity[i], to_array(g), as_reference(c.options));
        }
        sgd.step();
        for (std::size_t i = 0; i < parameters.size(); ++i) {
          CHECK(close(parameters[i].detach(), expected[i], tolerance(options.dtype),
                      std::max(1.0, expected[i].largest())));
        }
      }
    }
  });
}

TEST_CASE("the proximal step reaches exact zeros, the subgradient does not") {
  for_each_kind([](TensorOptions options) {
    const auto after_one_step = [&](L1Mode mode) {
      Tensor p = leaf(make({0.004, -0.004, 0.5, -0.5, 0}, options));
      set_gradient(p, zeros({5}, options));
      SGD({p}, {.lr = 0.1, .l1 = 0.05, .l1_mode = mode}).step();
      return p.detach();
    };
    CHECK(close(after_one_step(L1Mode::proximal), to_array(make({0, 0, 0.495, -0.495, 0}, {DType::f64}))));
    CHECK(after_one_step(L1Mode::proximal).to_vector<double>()[0] == 0);
    CHECK(close(after_one_step(L1Mode::subgradient),
                to_array(make({-0.001, 0.001, 0.495, -0.495, 0}, {DType::f64}))));
  });
}

TEST_CASE("a NaN gradient is not hidden, in either mode") {
  for_each_kind([](TensorOptions options) {
    for (L1Mode mode : {L1Mode::subgradient, L1Mode::proximal}) {
      Tensor p = leaf(make({1, 2}, options));
      set_gradient(p, make({0, std::numeric_limits<double>::quiet_NaN()}, options));
      SGD({p}, {.lr = 0.1, .l1 = 0.1, .l1_mode = mode}).step();
      const auto values = p.to_vector<double>();
      CHECK(std::isfinite(values[0]));
      CHECK(std::isnan(values[1]));
    }
  });
}

TEST_CASE("parameters without a gradient are left alone, and their velocity too") {
  for_each_kind([](TensorOptions options) {
    Tensor a = leaf(make({1, 2}, options)), b = leaf(make({3, 4}, options));
    SGD sgd({a, b}, {.lr = 0.5, .momentum = 0.5, .weight_decay = 0.1, .l1 = 0.1});
    set_gradient(a, ones({2}, options));
    sgd.step();
    CHECK(b.to_vector<double>() == std::vector<double>{3, 4});
    CHECK(a.to_vector<double>() != std::vector<double>{1, 2});
    sgd.zero_grad();
    CHECK_FALSE(a.grad().defined());
    const auto before = a.to_vector<double>();
    sgd.step();
    CHECK(a.to_vector<double>() == before);
  });
}

TEST_CASE("a step does not depend on the number of threads") {
  for_each_kind([](TensorOptions options) {
    check_independent_of_threads([&] {
      Random random;
      Tensor p = leaf(random.normal({100003}, options));
      SGD sgd({p}, {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.1, .nesterov = true, .l1 = 0.1});
      for (int step = 0; step < 2; ++step) {
        set_gradient(p, random.normal({100003}, options));
        sgd.step();
      }
      return std::vector{p.detach()};
    });
  });
}

TEST_CASE("a step refuses values that a graph still needs") {
  Tensor p = leaf(make({1, 2}, {DType::f64}));
  const Tensor y = p * p;
  set_gradient(p, ones({2}, p.options()));
  SGD({p}, {.lr = 0.1}).step();
  CHECK(mentions(error_of([&] { sum(y).backward(); }), {"backward", "in place"}));
}

TEST_CASE("SGD refuses impossible options and parameters") {
  const Tensor p = leaf(make({1}, {}));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const SgdOptions impossible[] = {
      {.lr = -1}, {.momentum = -0.1}, {.weight_decay = -1}, {.l1 = -1}, {.lr = nan}};
  for (const SgdOptions& options : impossible)
    CHECK(mentions(error_of([&] { SGD({p}, options); }), {"SGD", "at least 0"}));
  CHECK(mentions(error_of([&] { SGD({p}, {.nesterov = true}); }), {"SGD", "Nesterov", "momentum"}));
  CHECK(mentions(error_of([&] { SGD({p, p * 2.0}, {}); }), {"SGD", "leaves"}));
  CHECK(mentions(error_of([&] { SGD({p, leaf(make({1}, {DType::f64}))}, {}); }), {"SGD", "f32", "f64"}));
}

TEST_CASE("an optimizer with the state of another takes the same steps, bit for bit") {
  for_each_kind([](TensorOptions options) {
    Random random;
    const std::vector<Tensor> start = {random.normal({7}, options), random.normal({3, 2}, options),
                                       random.normal({4}, options)};
    struct Run {
      std::vector<Tensor> parameters;
      SGD sgd;
      optim::StepLR schedule;
      explicit Run(const std::vector<Tensor>& values)
          : parameters{leaf(values[0]), leaf(values[1]), leaf(values[2])},
            sgd(parameters, {.lr = 0.3, .momentum = 0.9}),
            schedule(sgd, 2, 0.7) {}
      void step() {  // the last parameter has no gradient, so no buffer either
        for (std::size_t i = 0; i < 2; ++i) set_gradient(parameters[i], parameters[i].detach() * 0.1 + 1.0);
        sgd.step();
        schedule.step();
      }
    };
    Run whole(start);
    for (int step = 0; step < 3; ++step) whole.step();
    const NamedTensors state = whole.sgd.state_dict();
    REQUIRE(state.size() == 3);
    CHECK(state[0].first == "lr");
    CHECK(state[0].second.item() == whole.sgd.lr());
    CHECK(state[1].first == "0.momentum_buffer");
    CHECK(state[2].first == "1.momentum_buffer");

    Run resumed({whole.parameters[0].detach().clone(), whole.parameters[1].detach().clone(),
                 whole.parameters[2].detach().clone()});
    resumed.step();  // what it had before is overwritten
    {
      const NoGrad guard;
      for (std::size_t i = 0; i < 3; ++i) resumed.parameters[i].copy_(whole.parameters[i]);
    }
    resumed.sgd.load_state_dict(state);
    resumed.schedule.load_state_dict(whole.schedule.state_dict());
    for (int step = 0; step < 3; ++step) {
      INFO("step " << step);
      CHECK(resumed.sgd.lr() == whole.sgd.lr());
      whole.step();
      resumed.step();
      for (std::size_t i = 0; i < 3; ++i)
        CHECK(same_bits(resumed.parameters[i].detach(), whole.parameters[i].detach()));
    }
  });
}

TEST_CASE("a state that does not fit is refused and changes nothing") {
  Tensor p = leaf(make({1, 2}, {}));
  SGD sgd({p}, {.lr = 0.5, .momentum = 0.5});
  set_gradient(p, ones({2}));
  sgd.step();
  const auto buffer = [&] { return sgd.state_dict().at(1).second.to_vector<double>(); };
  const auto before = buffer();
  const Tensor lr = make({0.25}, {DType::f64}).reshape({});
  const auto refused = [&](const NamedTensors& state) {
    const std::string message = error_of([&] { sgd.load_state_dict(state); });
    CHECK(sgd.lr() == 0.5);
    CHECK(buffer() == before);
    return message;
  };
  CHECK(mentions(refused({}), {"load_state_dict", "'lr'", "missing"}));
  CHECK(mentions(refused({{"lr", lr}, {"0.momentum_buffer", zeros({3})}}), {"[3]", "[2]"}));
  for (const char* name : {"1.momentum_buffer", "momentum_buffer", ".momentum_buffer", "x.momentum_buffer",
                           "0x.momentum_buffer", "-1.momentum_buffer", "0", "other"}) {
    CHECK(mentions(refused({{"lr", lr}, {name, zeros({2})}}), {name, "1 parameters"}));
  }
  optim::StepLR schedule(sgd, 1);
  CHECK(mentions(error_of([&] { schedule.load_state_dict({{"base_lr", lr}}); }), {"last_epoch", "missing"}));
  CHECK(mentions(error_of([&] {
                   schedule.load_state_dict({{"base_lr", lr}, {"last_epoch", lr}, {"gamma", lr}});
                 }),
                 {"more than"}));
}

TEST_CASE("StepLR multiplies the rate every step_size epochs") {
  SGD sgd({leaf(make({1}, {}))}, {.lr = 0.01});
  optim::StepLR schedule(sgd, 6);
  for (int epoch = 0; epoch < 20; ++epoch) {
    INFO("epoch " << epoch);
    const double expected = 0.01 * std::pow(0.1, epoch / 6);
    CHECK(std::abs(sgd.lr() - expected) <= 1e-15);
    schedule.step();
  }
  SGD other({leaf(make({1}, {}))}, {.lr = 1});
  optim::StepLR halving(other, 1, 0.5);
  for (int epoch = 0; epoch < 3; ++epoch) halving.step();
  CHECK(other.lr() == 0.125);
  CHECK(mentions(error_of([&] { optim::StepLR(sgd, 0); }), {"StepLR", "step_size"}));
  CHECK(mentions(error_of([&] { optim::StepLR(sgd, 1, -0.5); }), {"StepLR", "gamma"}));
}

#ifdef EVENKEEL_WITH_CUDA
TEST_CASE("a step in a CUDA graph takes the learning rate of each launch") {
  if (cuda_devices().count == 0) return;
  const Device cuda = Device::cuda();
  for (const L1Mode mode : {L1Mode::subgradient, L1Mode::proximal}) {
    Random random;
    const SgdOptions options{.lr = 0.1, .momentum = 0.9, .l1 = 0.2, .l1_mode = mode};
    const Tensor start = random.normal({300}, {DType::f32, cuda}),
                 g = random.normal({300}, {DType::f32, cuda});
    Tensor p = leaf(start), q = leaf(start);
    SGD recorded({p}, options), plain({q}, options);
    set_gradient(p, g);
    CHECK(mentions(error_of([&] { CudaGraph(0, [&] { recorded.step(); }); }), {"SGD", "run one before"}));
    set_gradient(q, g);
    recorded.step();
    plain.step();
    const CudaGraph graph(0, [&] { recorded.step(); });
    CHECK(same_bits(p.detach(), q.detach()));
    for (const double lr : {0.1, 0.03, 0.5}) {
      recorded.set_lr(lr);
      plain.set_lr(lr);
      graph.launch();
      plain.step();
      CHECK(same_bits(p.detach(), q.detach()));
    }
  }
}
#endif
