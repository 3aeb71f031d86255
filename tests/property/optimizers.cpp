// SGD: steps, gradients laid out anyhow, dtypes that change, parameters that are views; StepLR.
#include <cmath>

#include "evenkeel/core/autograd.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/optim.h"
#include "property/families.h"
#include "reference/sgd.h"

namespace evenkeel::property {
namespace {

optim::SgdOptions draw_options(Gen& gen) {
  optim::SgdOptions o;
  o.lr = gen.uniform(0, 0.5);
  if (gen.chance(60)) o.momentum = gen.uniform(0.1, 0.9);
  if (gen.chance(50)) o.weight_decay = gen.uniform(0, 0.2);
  o.nesterov = o.momentum > 0 && gen.chance(40);
  if (gen.chance(40)) o.l1 = gen.uniform(0, 0.3);
  o.l1_mode = gen.chance(50) ? optim::L1Mode::proximal : optim::L1Mode::subgradient;
  return o;
}

/// Several steps of several parameters, some of which have no gradient in a step, against the reference.
void sgd_in(std::uint64_t seed, DType dtype, Device device, int poison) {
  Gen gen(seed, device);
  set_memory_poison(poison);
  const optim::SgdOptions options = draw_options(gen);
  const reference::Sgd how{options.lr, options.momentum, options.weight_decay,
                           options.l1, options.nesterov, options.l1_mode == optim::L1Mode::proximal};
  std::vector<Tensor> parameters;
  std::vector<Array> values, velocities;
  const bool special = gen.chance(15);
  for (Index count = gen.integer(1, 4); count > 0; --count) {
    const Sizes shape = gen.shape(static_cast<int>(gen.integer(0, 4)));
    values.push_back(gen.numbers(shape, special));
    velocities.emplace_back(shape);
    Operand p;
    p.values = values.back();
    p.layout.order.resize(shape.size());
    for (std::size_t d = 0; d < shape.size(); ++d) p.layout.order[d] = static_cast<int>(d);
    p.layout.step.assign(shape.size(), 1);
    p.layout.skip.assign(shape.size(), 0);
    p.layout.repeated.assign(shape.size(), false);
    p.gradient = true;
    parameters.push_back(make_tensor(p, dtype, device));
  }
  optim::SGD sgd(parameters, options);
  const bool converts = gen.chance(20);
  for (int step = 0; step < 3; ++step) {
    sgd.zero_grad();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (gen.chance(15)) continue;
      Operand dy = gen.operand(values[i].shape, false);
      dy.gradient = false;
      (parameters[i] * 1.0).backward(make_tensor(dy, parameters[i].dtype(), device));
      reference::sgd_step(values[i], velocities[i], dy.values, how);
    }
    sgd.step();
    for (std::size_t i = 0; i < parameters.size(); ++i)
      must_equal(fmt::format("parameter {} after step {}", i, step), parameters[i], values[i],
                 (dtype == DType::f32 && parameters[i].dtype() == DType::f64 ? 1e6 : 1) *
                     (largest_finite(values[i]) + 5));
    if (converts && step == 0) {  // as Module::to does
      const DType other = dtype == DType::f32 ? DType::f64 : DType::f32;
      for (Tensor& p : parameters) p.set_data(p.detach().to(other));
    }
  }
}

void sgd_case(Gen& gen) {
  for (DType dtype : {DType::f64, DType::f32})
    for (int poison : {0xff, 0x41}) {
      try {
        sgd_in(gen.seed() * 7 + 1, dtype, gen.device(), poison);
      } catch (const Failure& failure) {
        fail_case(fmt::format("SGD in {}: {}", name_of(dtype), failure.what()));
      } catch (const Error& error) {
        fail_case(fmt::format("SGD in {} was refused: {}", name_of(dtype), error.what()));
      }
    }
}

/// Parameters that are views: handled, or refused before anything is written.
void sgd_views(Gen& gen) {
  Operand p = gen.operand(gen.shape(static_cast<int>(gen.integer(1, 3))), false);
  p.gradient = true;
  const bool later = gen.chance(50);  // it becomes a view when the optimizer has it already
  for (DType dtype : {DType::f64, DType::f32}) {
    Tensor view = make_tensor(p, dtype, gen.device());
    const Snapshot before(view);
    Tensor parameter = later ? view.detach().clone().requires_grad_() : view;
    Array expected = p.values;
    expected.values -= 0.5;
    try {
      optim::SGD sgd({parameter}, {.lr = 0.5});
      if (later) parameter.set_data(view.detach());
      (parameter * 1.0).backward(ones(parameter.shape(), parameter.options()));
      sgd.step();
    } catch (const Error& error) {
      if (std::string(error.what()).find("SGD") == std::string::npos)
        fail_case(fmt::format("the Error does not name SGD: {}", error.what()));
      before.must_be_unchanged("a parameter, though SGD refused it,");
      continue;
    }
    before.must_be_unchanged("memory beside a parameter", view);
    if (overlaps_itself(p)) fail_case("a parameter whose elements share memory was stepped: " + describe(p));
    must_equal("a parameter that is a view: " + describe(p), parameter, expected, 10);
  }
}

void sgd_refuses(Gen& gen) {
  const Tensor x = ones({2, 3}, {DType::f32, gen.device()}).requires_grad_();
  const double bad = gen.chance(50) ? -gen.uniform(0.1, 2) : NAN;
  must_refuse("SGD", "lr", [&] { optim::SGD({x}, {.lr = bad}); });
  must_refuse("SGD", "momentum", [&] { optim::SGD({x}, {.momentum = bad}); });
  must_refuse("SGD", "weight_decay", [&] { optim::SGD({x}, {.weight_decay = bad}); });
  must_refuse("SGD", "l1", [&] { optim::SGD({x}, {.l1 = bad}); });
  must_refuse("SGD", "Nesterov without momentum", [&] { optim::SGD({x}, {.nesterov = true}); });
  must_refuse("SGD", "an undefined parameter", [&] { optim::SGD({Tensor()}, {}); });
  must_refuse("SGD", "a result is no leaf", [&] { optim::SGD({exp(x)}, {}); });
  optim::SGD sgd({x}, {.lr = 0.1, .momentum = 0.9});
  must_refuse("SGD", "none of its parameters",
              [&] { sgd.momentum_buffer(ones({2}, x.options()).requires_grad_()); });
  must_refuse("load_state_dict", "no lr", [&] { sgd.load_state_dict({}); });
  must_refuse("load_state_dict", "an unknown name", [&] {
    sgd.load_state_dict({{"lr", ones({})}, {"7.momentum_buffer", ones({2, 3})}});
  });
  must_refuse("load_state_dict", "another shape", [&] {
    sgd.load_state_dict({{"lr", ones({})}, {"0.momentum_buffer", ones({3, 2})}});
  });
  must_refuse("load_state_dict", "an undefined buffer", [&] {
    sgd.load_state_dict({{"lr", ones({})}, {"0.momentum_buffer", Tensor()}});
  });
}

/// lr multiplied by gamma every step_size steps, whatever it is at the time.
void step_lr_case(Gen& gen) {
  const auto step_size = static_cast<int>(gen.integer(1, 4));
  const double gamma = gen.uniform(0.1, 1.2);
  double lr = gen.uniform(0.1, 2);
  optim::SGD sgd({ones({2}, {DType::f32, gen.device()}).requires_grad_()}, {.lr = lr});
  optim::StepLR schedule(sgd, step_size, gamma);
  for (int epoch = 1; epoch <= 9; ++epoch) {
    if (gen.chance(25)) sgd.set_lr(lr = gen.uniform(0.1, 2));
    schedule.step();
    if (epoch % step_size == 0) lr *= gamma;
    if (!(std::abs(sgd.lr() - lr) <= 1e-12 * lr))
      fail_case(fmt::format("lr after epoch {} is {}, expected {}", epoch, sgd.lr(), lr));
  }
}

}  // namespace

void add_optimizers(std::vector<Property>& all) {
  all.insert(
      all.end(),
      {{"sgd", sgd_case}, {"sgd_views", sgd_views}, {"sgd_refuses", sgd_refuses}, {"step_lr", step_lr_case}});
}

}  // namespace evenkeel::property
