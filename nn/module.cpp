#include "nn/module.h"

#include <algorithm>
#include <map>

#include "core/autograd.h"
#include "nn/conv_chain.h"
#include "nn/layers.h"

namespace evenkeel::nn {

Tensor Module::forward_after_relu(const Tensor& x) { return forward(relu(x)); }

Tensor Module::register_parameter(std::string name, Tensor value) {
  value.requires_grad_();
  parameters_.emplace_back(std::move(name), value);
  return value;
}

std::pair<Tensor, Tensor> Module::register_affine(const Shape& shape) {
  Tensor weight = register_parameter("weight", ones(shape));
  return {weight, register_parameter("bias", zeros(shape))};
}

Tensor Module::register_buffer(std::string name, Tensor value) {
  buffers_.emplace_back(std::move(name), value);
  return value;
}

void Module::register_module(std::string name, std::shared_ptr<Module> child) {
  children_.emplace_back(std::move(name), std::move(child));
}

void Module::collect(const std::string& prefix, bool with_buffers, NamedTensors& out) const {
  for (const auto& [name, tensor] : parameters_) out.emplace_back(prefix + name, tensor);
  if (with_buffers) {
    for (const auto& [name, tensor] : buffers_) out.emplace_back(prefix + name, tensor);
  }
  for (const auto& [name, child] : children_) child->collect(prefix + name + ".", with_buffers, out);
}

NamedTensors Module::named_parameters() const {
  NamedTensors out;
  collect("", false, out);
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
  for (const auto& [name, tensor] : own) {
    const auto found = given.find(name);
    EK_CHECK(found != given.end(), "load_state_dict: '{}' is missing", name);
    EK_CHECK(found->second.defined(), "load_state_dict: '{}' is undefined", name);
    EK_CHECK(found->second.shape() == tensor.shape(),
             "load_state_dict: '{}' has shape {}, the module needs {}", name, found->second.shape().str(),
             tensor.shape().str());
  }
  for (const auto& [name, tensor] : state) {
    const bool known =
        std::any_of(own.begin(), own.end(), [&](const auto& entry) { return entry.first == name; });
    EK_CHECK(known, "load_state_dict: the module has no '{}'", name);
  }
  const NoGrad guard;
  for (auto& [name, tensor] : own) tensor.copy_(given[name]);
}

void Module::train(bool on) {
  training_ = on;
  for (auto& [name, child] : children_) child->train(on);
}

void Module::to(Device device) {
  for (auto [name, tensor] : state_dict()) tensor.set_data(tensor.detach().to(device));
}

void Module::to(DType dtype) {
  EK_CHECK(!is_16bit(dtype),
           "to: parameters stay f32, from which {} activations are computed; convert the input with "
           "x.to(DType::{})",
           name_of(dtype), name_of(dtype));
  EK_CHECK(is_floating(dtype), "to: parameters cannot be {}; use f32 or f64", name_of(dtype));
  for (auto [name, tensor] : state_dict()) {
    if (is_floating(tensor.dtype())) tensor.set_data(tensor.detach().to(dtype));
  }
}

void Module::zero_grad() {
  for (Tensor parameter : parameters()) parameter.zero_grad();
}

std::size_t Sequential::forward_chain(std::size_t i, Tensor& y) const {
  if (!y.device().is_cuda() || !fusion_enabled()) return i;
  ConvChain chain;
  std::size_t end = i;
  while (end < size() && children()[end].second->join(chain)) ++end;
  if (end < i + 2 || !chain.takes(y)) return i;  // one convolution alone is conv2d's
  chain.draw_keys();
  y = conv_chain(y, chain);
  return end;
}

Tensor Sequential::forward(const Tensor& x) {
  Tensor y = x;
  bool after_relu = false;
  for (std::size_t i = 0; i < size(); ++i) {
    if (!after_relu) {
      i = forward_chain(i, y);
      if (i == size()) break;
    }
    Module& child = *children()[i].second;
    const bool is_relu = dynamic_cast<const ReLU*>(&child) != nullptr;
    if (!is_relu) y = after_relu ? child.forward_after_relu(y) : child.forward(y);
    after_relu = is_relu;
  }
  return after_relu ? relu(y) : y;
}

}  // namespace evenkeel::nn
