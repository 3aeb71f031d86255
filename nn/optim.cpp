#include "nn/optim.h"

#include <cmath>

#include "kernels/sgd.h"

namespace evenkeel::optim {

SGD::SGD(std::vector<Tensor> parameters, SgdOptions options)
    : parameters_(std::move(parameters)), velocity_(parameters_.size()), options_(options) {
  EK_CHECK(options.lr >= 0 && options.momentum >= 0 && options.weight_decay >= 0 && options.l1 >= 0,
           "SGD: lr {}, momentum {}, weight_decay {} and l1 {} must be at least 0", options.lr,
           options.momentum, options.weight_decay, options.l1);
  EK_CHECK(!options.nesterov || options.momentum > 0, "SGD: Nesterov needs a momentum above 0");
  for (const Tensor& p : parameters_) {
    EK_CHECK(p.requires_grad() && p.is_contiguous(),
             "SGD: parameters must be dense leaves that require a gradient");
    check_same_kind("SGD", {&parameters_.front(), &p});
  }
}

void SGD::step() {
  if (parameters_.empty()) return;
  const Tensor& first = parameters_.front();
  std::vector<Tensor> gradients(parameters_.size());
  dispatch_floating(first.dtype(), [&]<typename T>() {
    std::vector<SgdTensor<T>> list;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      Tensor& p = parameters_[i];
      if (!p.grad().defined()) continue;
      Tensor &v = velocity_[i], &g = gradients[i] = p.grad().contiguous();
      check_same_kind("SGD", {&first, &p, &g});
      if (options_.momentum > 0 && !v.defined()) v = zeros_like(p);
      list.push_back(
          {p.mutable_data<T>(), v.defined() ? v.mutable_data<T>() : nullptr, g.data<T>(), p.numel()});
    }
    const SgdArgs<T> args{list.data(),           static_cast<int>(list.size()),
                          options_.lr,           options_.momentum,
                          options_.weight_decay, options_.l1,
                          options_.nesterov,     options_.l1_mode == L1Mode::proximal};
    EK_DISPATCH(first.device(), sgd_step, args);
  });
}

void SGD::zero_grad() {
  for (Tensor& p : parameters_) p.zero_grad();
}

StepLR::StepLR(SGD& optimizer, int step_size, double gamma)
    : optimizer_(optimizer), base_lr_(optimizer.lr()), gamma_(gamma), step_size_(step_size) {
  EK_CHECK(step_size >= 1 && gamma > 0, "StepLR: step_size {} must be at least 1 and gamma {} above 0",
           step_size, gamma);
}

void StepLR::step() {
  ++epoch_;
  optimizer_.set_lr(base_lr_ * std::pow(gamma_, epoch_ / step_size_));
}

}  // namespace evenkeel::optim
