#include "evenkeel/nn/optim.h"
#include "evenkeel/core/dispatch.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "evenkeel/core/autograd.h"

namespace evenkeel::optim {
namespace {

constexpr std::string_view kBuffer = ".momentum_buffer";

/// Exact for the integers that are used here.
Tensor scalar(double value) { return from_vector(std::vector{value}, {}); }

double value_of(const NamedTensors& state, std::string_view name) {
  const auto found =
      std::find_if(state.begin(), state.end(), [&](const auto& entry) { return entry.first == name; });
  EK_CHECK(found != state.end() && found->second.defined(), "load_state_dict: '{}' is missing", name);
  return found->second.item();
}

/// The I of "I.momentum_buffer"; throws unless it is below `count`.
std::size_t parameter_of(std::string_view name, std::size_t count) {
  std::size_t i = count;
  if (name.ends_with(kBuffer)) {
    const char* end = name.data() + name.size() - kBuffer.size();
    const auto parsed = std::from_chars(name.data(), end, i);
    if (parsed.ec != std::errc() || parsed.ptr != end) i = count;
  }
  if (name != fmt::format("{}{}", i, kBuffer)) i = count;  // 00, say
  EK_CHECK(i < count, "load_state_dict: '{}' is neither lr nor the buffer of one of {} parameters", name,
           count);
  return i;
}

/// Throws unless the kernel, which knows one size and no strides, can walk both together.
void check_fits(const char* what, const Tensor& x, const Tensor& parameter) {
  EK_CHECK(x.shape() == parameter.shape(), "SGD: a {} has shape {}, its parameter {}", what, x.shape().str(),
           parameter.shape().str());
  EK_CHECK(x.is_contiguous() && parameter.is_contiguous(),
           "SGD: a parameter of shape {} and its {} must be dense", parameter.shape().str(), what);
}

}  // namespace

SgdRule rule_of(const SgdOptions& options) {
  return {.lr = options.lr,
          .momentum = options.momentum,
          .weight_decay = options.weight_decay,
          .l1 = options.l1,
          .nesterov = options.nesterov,
          .proximal = options.l1_mode == L1Mode::proximal};
}

SGD::SGD(std::vector<Tensor> parameters, SgdOptions options)
    : parameters_(std::move(parameters)), velocity_(parameters_.size()), options_(options) {
  EK_CHECK(options.lr >= 0 && options.momentum >= 0 && options.weight_decay >= 0 && options.l1 >= 0,
           "SGD: lr {}, momentum {}, weight_decay {} and l1 {} must be at least 0", options.lr,
           options.momentum, options.weight_decay, options.l1);
  EK_CHECK(!options.nesterov || options.momentum > 0, "SGD: Nesterov needs a momentum above 0");
  for (const Tensor& p : parameters_) {
    EK_CHECK(p.defined() && !(p.requires_grad() && p.variable()->node) && p.is_contiguous(),
             "SGD: parameters must be dense leaves");
    check_same_kind("SGD", {&parameters_.front(), &p});
  }
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    EK_CHECK(index_of(parameters_[i]) == i,
             "SGD: parameters {} and {} are the same tensor, which would be stepped twice; name it once, as "
             "Module::parameters() does",
             index_of(parameters_[i]), i);
  }
}

void SGD::set_lr(double lr) {
  EK_CHECK(lr >= 0, "SGD: lr {} must be at least 0", lr);
  options_.lr = lr;
  if (lr_now_.defined()) lr_now_.fill_(lr);
}

std::size_t SGD::index_of(const Tensor& parameter) const {
  const auto found = std::find_if(parameters_.begin(), parameters_.end(),
                                  [&](const Tensor& p) { return p.is_same(parameter); });
  return static_cast<std::size_t>(found - parameters_.begin());
}

Tensor SGD::current_velocity(std::size_t i) const {
  const Tensor& p = parameters_[i];
  Tensor v = velocity_[i];
  if (v.defined() && (v.dtype() != p.dtype() || v.device() != p.device()))
    v.set_data(v.to(p.dtype()).to(p.device()));
  return v;
}

Tensor SGD::velocity_for_step(std::size_t i) {
  if (options_.momentum > 0 && !velocity_[i].defined()) velocity_[i] = zeros_like(parameters_[i]);
  return current_velocity(i);
}

Tensor SGD::momentum_buffer(const Tensor& parameter) {
  const std::size_t i = index_of(parameter);
  EK_CHECK(i < parameters_.size(), "SGD: a tensor {} is none of its parameters", parameter.shape().str());
  return velocity_for_step(i);
}

void SGD::step() {
  if (parameters_.empty()) return;
  const Tensor& first = parameters_.front();
  if (lr_now_.defined() && lr_now_.device() != first.device()) lr_now_ = Tensor();
  if (first.device().is_cuda() && !lr_now_.defined()) {
    EK_CHECK(!is_capturing(first.device()),
             "SGD: the first step cannot be recorded in a CUDA graph: run one before");
    lr_now_ = full({}, options_.lr, {DType::f64, first.device()});
  }
  std::vector<Tensor> gradients(parameters_.size());
  dispatch_floating(first.dtype(), [&]<typename T>() {
    std::vector<SgdTensor<T>> list;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      Tensor& p = parameters_[i];
      if (!p.grad().defined()) continue;
      Tensor v = options_.momentum > 0 ? velocity_for_step(i) : Tensor();
      const Tensor& g = gradients[i] = p.grad().contiguous();
      check_same_kind("SGD", {&first, &p, &g});
      check_fits("gradient", g, p);
      if (v.defined()) check_fits("momentum buffer", v, p);
      list.push_back(
          {p.mutable_data<T>(), v.defined() ? v.mutable_data<T>() : nullptr, g.data<T>(), p.numel()});
    }
    const SgdArgs<T> args{.tensors = list.data(),
                          .count = static_cast<int>(list.size()),
                          .rule = rule_of(options_),
                          .lr_now = lr_now_.defined() ? lr_now_.data<double>() : nullptr};
    run_kernel<cpu::sgd_step<T>, cuda::sgd_step<T>>("sgd_step", first.device(), args);
  });
}

void SGD::zero_grad() {
  for (Tensor& p : parameters_) p.zero_grad();
}

NamedTensors SGD::state_dict() const {
  NamedTensors state = {{"lr", scalar(options_.lr)}};
  for (std::size_t i = 0; i < velocity_.size(); ++i) {
    if (velocity_[i].defined()) state.emplace_back(fmt::format("{}{}", i, kBuffer), current_velocity(i));
  }
  return state;
}

void SGD::load_state_dict(const NamedTensors& state) {
  std::vector<Tensor> velocity(parameters_.size());
  const double lr = value_of(state, "lr");
  EK_CHECK(lr >= 0, "load_state_dict: lr is {}, it must be at least 0", lr);
  for (const auto& [name, tensor] : state) {
    if (name == "lr") continue;
    const std::size_t i = parameter_of(name, parameters_.size());
    const Tensor& p = parameters_[i];
    EK_CHECK(tensor.defined(), "load_state_dict: '{}' is undefined", name);
    EK_CHECK(tensor.shape() == p.shape(), "load_state_dict: '{}' has shape {}, the parameter {}", name,
             tensor.shape().str(), p.shape().str());
    velocity[i] = zeros_like(p).copy_(tensor.detach());
  }
  set_lr(lr);
  velocity_ = std::move(velocity);
}

StepLR::StepLR(SGD& optimizer, int step_size, double gamma)
    : optimizer_(optimizer), base_lr_(optimizer.lr()), gamma_(gamma), step_size_(step_size) {
  EK_CHECK(step_size >= 1 && gamma >= 0, "StepLR: step_size {} and gamma {} must be at least 1 and 0",
           step_size, gamma);
}

void StepLR::step() {
  ++epoch_;
  if (epoch_ % step_size_ == 0) optimizer_.set_lr(optimizer_.lr() * gamma_);
}

NamedTensors StepLR::state_dict() const {
  return {{"base_lr", scalar(base_lr_)}, {"last_epoch", scalar(epoch_)}};
}

void StepLR::load_state_dict(const NamedTensors& state) {
  const double base_lr = value_of(state, "base_lr"), epoch = value_of(state, "last_epoch");
  EK_CHECK(state.size() == 2, "load_state_dict: there is more than base_lr and last_epoch");
  EK_CHECK(0 <= epoch && epoch < 1e9 && epoch == std::floor(epoch), "load_state_dict: last_epoch is {}",
           epoch);
  base_lr_ = base_lr;
  epoch_ = static_cast<int>(epoch);
}

}  // namespace evenkeel::optim
