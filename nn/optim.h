// Optimizers and learning-rate schedules, with PyTorch's rules.
#pragma once

#include <vector>

#include "evenkeel/kernels/sgd.h"
#include "evenkeel/nn/module.h"

namespace evenkeel::optim {

/// How an L1 penalty acts: by its subgradient sign(p), or by the proximal (soft-threshold) step, which
/// reaches zeros.
enum class L1Mode { subgradient, proximal };

struct SgdOptions {
  double lr = 1e-3;
  double momentum = 0;
  double weight_decay = 0;
  bool nesterov = false;
  double l1 = 0;  ///< adds l1 * sum |p| over all parameters to the objective
  L1Mode l1_mode = L1Mode::subgradient;
};

/// The options as the kernels take them.
SgdRule rule_of(const SgdOptions& options);

/// Stochastic gradient descent; the rule is in kernels/sgd.h. Parameters without a gradient are left alone. A
/// step that has been recorded in a CUDA graph takes the learning rate of each launch; the first step cannot
/// be recorded, as buffers are made in it.
class SGD {
 public:
  /// Throws Error on negative options, on Nesterov without momentum, and on a parameter that is named twice.
  SGD(std::vector<Tensor> parameters, SgdOptions options);
  void step();
  void zero_grad();
  double lr() const { return options_.lr; }
  void set_lr(double lr);
  const SgdOptions& options() const { return options_; }

  /// That of a parameter, made now if there is none yet; undefined without momentum. Throws Error if it is
  /// none of the parameters.
  Tensor momentum_buffer(const Tensor& parameter);

  /// "lr", and "I.momentum_buffer" for each parameter I that has been stepped with momentum. The buffers
  /// share memory with the optimizer.
  NamedTensors state_dict() const;
  /// Copies values in; the next step is that of the optimizer they come from. Throws Error, before anything
  /// is changed, on a missing or unknown name or a wrong shape. Values are converted to the parameters'
  /// dtype.
  void load_state_dict(const NamedTensors& state);

 private:
  /// The number of the parameters if it is none of them.
  std::size_t index_of(const Tensor& parameter) const;
  /// The momentum buffer of parameter i, moved to where that is now and to its dtype; undefined if there is
  /// none.
  Tensor current_velocity(std::size_t i) const;
  /// The same buffer, which is made if momentum asks for one.
  Tensor velocity_for_step(std::size_t i);

  std::vector<Tensor> parameters_;
  std::vector<Tensor> velocity_;  // made at the first step that needs it
  Tensor lr_now_;  // f64, on a CUDA device: what the kernel reads, so that a graph goes with it
  SgdOptions options_;
};

/// Multiplies the optimizer's present learning rate by gamma every step_size epochs; call step() once after
/// each epoch.
class StepLR {
 public:
  StepLR(SGD& optimizer, int step_size, double gamma = 0.1);
  void step();

  /// "base_lr" and "last_epoch".
  NamedTensors state_dict() const;
  /// Leaves the optimizer's rate alone, which is in the optimizer's own state. Throws Error unless the names
  /// are those of state_dict().
  void load_state_dict(const NamedTensors& state);

 private:
  SGD& optimizer_;
  double base_lr_, gamma_;
  int step_size_, epoch_ = 0;
};

}  // namespace evenkeel::optim
