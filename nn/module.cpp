#include "evenkeel/nn/module.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "evenkeel/core/autograd.h"
#include "evenkeel/core/json.h"
#include "evenkeel/core/overlap.h"
#include "evenkeel/core/random.h"
#include "evenkeel/nn/fusion.h"

namespace evenkeel::nn {
namespace {

/// True for what files that PyTorch wrote before version 0.4.1 do not have; it then stays as it is.
bool may_be_missing(std::string_view name) {
  return name == "num_batches_tracked" || name.ends_with(".num_batches_tracked");
}

/// A file may have any number of problems, or of names.
std::string first_of(const std::vector<std::string>& all, std::string_view separator) {
  constexpr std::ptrdiff_t kMost = 8;
  const std::ptrdiff_t more = std::ssize(all) - kMost;
  const auto end = more > 0 ? all.begin() + kMost : all.end();
  return fmt::format("{}{}", fmt::join(all.begin(), end, separator),
                     more > 0 ? fmt::format("{}and {} more", separator, more) : "");
}

/// Puts to(data) in the place of a tensor's data under all its handles, and does the same with its gradient.
template <typename F>
void replace(Tensor& tensor, const F& to) {
  tensor.set_data(to(tensor.detach()));
  const Tensor gradient = tensor.grad();
  if (gradient.defined()) tensor.variable()->grad = to(gradient);
}

}  // namespace

void Module::check_name(std::string_view name) const {
  EK_CHECK(!name.empty() && name.find('.') == std::string_view::npos,
           "register: '{}' is no name, which is not empty and has no dot in it", name);
  const auto is_taken = [name](const auto& named) { return named.first == name; };
  const auto has = [&](const auto& list) { return std::any_of(list.begin(), list.end(), is_taken); };
  EK_CHECK(!has(parameters_) && !has(buffers_) && !has(children_), "register: there is a '{}' already", name);
}

Tensor Module::register_parameter(std::string name, Tensor value) {
  check_name(name);
  value.requires_grad_();
  parameters_.emplace_back(std::move(name), value);
  return value;
}

std::pair<Tensor, Tensor> Module::register_affine(const Shape& shape) {
  Tensor weight = register_parameter("weight", ones(shape));
  return {weight, register_parameter("bias", zeros(shape))};
}

Tensor Module::register_buffer(std::string name, Tensor value) {
  check_name(name);
  buffers_.emplace_back(std::move(name), value);
  return value;
}

void Module::register_module(std::string name, std::shared_ptr<Module> child) {
  check_name(name);
  EK_CHECK(child != nullptr, "register_module: '{}' is null", name);
  children_.emplace_back(std::move(name), std::move(child));
}

void Module::collect(const std::string& prefix, bool with_buffers, NamedTensors& out) const {
  for (const auto& [name, tensor] : parameters_) out.emplace_back(prefix + name, tensor);
  if (with_buffers) {
    for (const auto& [name, tensor] : buffers_) {
      if (tensor.defined()) out.emplace_back(prefix + name, tensor);
    }
  }
  for (const auto& [name, child] : children_) child->collect(prefix + name + ".", with_buffers, out);
}

NamedTensors Module::named_parameters() const {
  NamedTensors all, out;
  collect("", false, all);
  for (auto& entry : all) {
    const auto is_entry = [&](const auto& earlier) { return earlier.second.is_same(entry.second); };
    if (std::none_of(out.begin(), out.end(), is_entry)) out.push_back(std::move(entry));
  }
  return out;
}

std::vector<Tensor> Module::parameters() const {
  std::vector<Tensor> out;
  for (const auto& [name, tensor] : named_parameters()) out.push_back(tensor);
  return out;
}

NamedTensors Module::state_dict() const {
  NamedTensors out;
  collect("", true, out);
  return out;
}

void Module::load_state_dict(const NamedTensors& state) {
  std::map<std::string, Tensor> given(state.begin(), state.end());
  EK_CHECK(given.size() == state.size(), "load_state_dict: a name occurs twice");
  NamedTensors own = state_dict();
  std::vector<std::string> missing, unknown, unfit;
  std::set<std::string> known;
  for (const auto& [name, tensor] : own) {
    known.insert(name);
    const auto found = given.find(name);
    if (found == given.end()) {
      if (!may_be_missing(name)) missing.push_back(fmt::format("'{}'", name));
    } else if (!found->second.defined()) {
      unfit.push_back(fmt::format("'{}' is undefined", name));
    } else if (tensor.rank() == 0 && found->second.shape() == Shape{1}) {
      found->second = found->second.reshape({});  // a number, as PyTorch wrote it before version 0.4
    } else if (found->second.shape() != tensor.shape()) {
      unfit.push_back(fmt::format("'{}' has shape {}, the module needs {}", name, found->second.shape().str(),
                                  tensor.shape().str()));
    }
  }
  for (const auto& [name, tensor] : state) {
    if (!known.contains(name)) unknown.push_back(in_quotes(name));
  }
  if (!missing.empty()) unfit.push_back(first_of(missing, ", ") + " missing");
  if (!unknown.empty()) unfit.push_back("the module has no " + first_of(unknown, ", "));
  EK_CHECK(unfit.empty(), "load_state_dict: {}", first_of(unfit, "; "));
  for (const auto& [name, tensor] : own)
    check_no_overlap("load_state_dict", tensor);  // before any is written
  const NoGrad guard;
  for (auto& [name, tensor] : own) {
    if (const auto found = given.find(name); found != given.end()) tensor.copy_(found->second);
  }
}

void Module::train(bool on) {
  training_ = on;
  for (auto& [name, child] : children_) child->train(on);
}

void Module::set_generator(Generator* generator) {
  generator_ = generator;
  for (auto& [name, child] : children_) child->set_generator(generator);
}

Generator& Module::generator() const { return generator_ != nullptr ? *generator_ : default_generator(); }

void Module::to(Device device) {
  for (auto [name, tensor] : state_dict()) replace(tensor, [&](const Tensor& x) { return x.to(device); });
}

void Module::to(DType dtype) {
  EK_CHECK(!is_16bit(dtype),
           "to: parameters stay f32, from which {} activations are computed; convert the input with "
           "x.to(DType::{})",
           name_of(dtype), name_of(dtype));
  EK_CHECK(is_floating(dtype), "to: parameters cannot be {}; use f32 or f64", name_of(dtype));
  for (auto [name, tensor] : state_dict()) {
    if (is_floating(tensor.dtype())) replace(tensor, [&](const Tensor& x) { return x.to(dtype); });
  }
}

void Module::zero_grad() {
  for (Tensor parameter : parameters()) parameter.zero_grad();
}

EvaluationMode::EvaluationMode(Module& module) {
  take(module);
  module.eval();
}

EvaluationMode::~EvaluationMode() {
  for (const auto& [module, training] : modes_) module->training_ = training;
}

void EvaluationMode::take(Module& module) {
  modes_.emplace_back(&module, module.training_);
  for (auto& [name, child] : module.children_) take(*child);
}

const Module& Sequential::operator[](std::size_t i) const {
  EK_CHECK(i < size(), "Sequential: there is no module {}, it has {}", i, size());
  return *children()[i].second;
}

Module& Sequential::operator[](std::size_t i) {
  return const_cast<Module&>(static_cast<const Sequential&>(*this)[i]);
}

Tensor Sequential::forward(const Tensor& x) {
  Tensor y = x;
  std::size_t i = 0;
  while (i < size()) {
    const std::size_t end = forward_fused(*this, i, y);
    if (end == i) {
      y = children()[i++].second->forward(y);
    } else {
      i = end;
    }
  }
  return y;
}

}  // namespace evenkeel::nn
