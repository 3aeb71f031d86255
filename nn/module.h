// Module: a function with parameters, buffers and children, named as in PyTorch.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "evenkeel/core/tensor.h"

namespace evenkeel {

class Generator;

/// Names and tensors in the order in which they were registered: "0.weight", "1.running_mean", ...
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

namespace nn {

/// A copy shares parameters, buffers and children with the original, and has a training mode of its own.
class Module {
 public:
  virtual ~Module() = default;
  virtual Tensor forward(const Tensor& x) = 0;
  Tensor operator()(const Tensor& x) { return forward(x); }

  /// The learnable tensors of this module and its children, and their names: each once, under its first name,
  /// however many modules share it.
  std::vector<Tensor> parameters() const;
  NamedTensors named_parameters() const;
  /// Parameters and buffers, under every name: what a file of weights holds. The tensors share memory with
  /// the module.
  NamedTensors state_dict() const;
  /// Copies values in, converted. Where there is no num_batches_tracked, as in old files of PyTorch, that
  /// stays as it is. Throws Error, before anything is changed, with all missing and surplus names and wrong
  /// shapes.
  void load_state_dict(const NamedTensors& state);

  /// Switches dropout and batch norm, here and in all children.
  void train(bool on = true);
  void eval() { train(false); }
  bool training() const { return training_; }
  /// Where dropout draws its masks from, here and in all children that there are now: a generator that lives
  /// as long as they are used, or null, for default_generator(). A copy of a module keeps it.
  void set_generator(Generator* generator);
  /// Moves all parameters, their gradients and buffers, or converts those of floating point, in place:
  /// optimizers keep their handles, and their own buffers follow at the next step.
  void to(Device device);
  void to(DType dtype);
  void zero_grad();

 protected:
  // A name is not empty, has no dot in it and is there once in a module: else Error.

  /// Makes `value` a leaf that requires a gradient; the member and the registry share it.
  Tensor register_parameter(std::string name, Tensor value);
  /// The affine parameters of a normalization: weight 1 and bias 0.
  std::pair<Tensor, Tensor> register_affine(const Shape& shape);
  /// One that is undefined is in no state dict.
  Tensor register_buffer(std::string name, Tensor value);
  void register_module(std::string name, std::shared_ptr<Module> child);
  const std::vector<std::pair<std::string, std::shared_ptr<Module>>>& children() const { return children_; }
  Generator& generator() const;

 private:
  friend class EvaluationMode;
  /// Throws unless something new can have this name.
  void check_name(std::string_view name) const;
  void collect(const std::string& prefix, bool with_buffers, NamedTensors& out) const;

  NamedTensors parameters_, buffers_;
  std::vector<std::pair<std::string, std::shared_ptr<Module>>> children_;
  bool training_ = true;
  Generator* generator_ = nullptr;
};

/// While one is alive, a module and all below it are in evaluation mode; then each is in its own again.
class EvaluationMode {
 public:
  explicit EvaluationMode(Module& module);
  ~EvaluationMode();
  EvaluationMode(const EvaluationMode&) = delete;
  EvaluationMode& operator=(const EvaluationMode&) = delete;

 private:
  void take(Module& module);

  std::vector<std::pair<Module*, bool>> modes_;
};

/// Runs modules one after another, but for those that run as one (nn/fusion.h); children are named "0", "1",
/// ...
class Sequential : public Module {
 public:
  Sequential() = default;
  /// Takes modules by value: Sequential{Conv2d(1, 8, 3), ReLU()}. Sequential{inner} is a copy of `inner`, as
  /// C++ has it; push_back puts one Sequential into another.
  template <typename First, typename... Rest>
  requires std::is_base_of_v<Module, std::decay_t<First>>
  explicit Sequential(First first, Rest... rest) {
    push_back(std::move(first));
    (push_back(std::move(rest)), ...);
  }
  template <typename M>
  void push_back(M module) {
    register_module(std::to_string(children().size()), std::make_shared<M>(std::move(module)));
  }
  std::size_t size() const { return children().size(); }
  /// Throws Error unless i < size().
  Module& operator[](std::size_t i);
  const Module& operator[](std::size_t i) const;
  Tensor forward(const Tensor& x) override;
};

}  // namespace nn
}  // namespace evenkeel
