#include "kernels/softmax.h"
#include "nn/functional/common.h"

namespace evenkeel {

using namespace functional;

namespace {

/// The loss of each row, [N].
Tensor nll_loss_per_row(const Tensor& log_probs, const Tensor& target) {
  const Tensor x = dense(log_probs), labels = dense(target);
  const std::int64_t M = x.size(0), D = x.size(1);
  check_range("nll_loss", labels, D);
  Tensor loss = empty({M}, x.options());
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const NllLossForwardArgs<T> args{loss.mutable_data<T>(), x.data<T>(), labels.data<std::int64_t>(), M, D};
    EK_DISPATCH(x.device(), nll_loss_forward, args);
  });
  record("nll_loss", loss, {&log_probs}, [labels = Saved(labels), M, D](const Tensor& dloss) {
    Tensor dx = empty({M, D}, dloss.options());
    dispatch_floating(dloss.dtype(), [&]<typename T>() {
      const NllLossBackwardArgs<T> args{dx.mutable_data<T>(), dloss.data<T>(),
                                        labels.get().data<std::int64_t>(), M, D};
      EK_DISPATCH(dloss.device(), nll_loss_backward, args);
    });
    return std::vector{dx};
  });
  return loss;
}

}  // namespace

Tensor nll_loss(const Tensor& log_probs, const Tensor& target, Reduction reduction) {
  EK_CHECK(
      log_probs.rank() == 2 && target.shape() == Shape{log_probs.size(0)} && target.dtype() == DType::i64,
      "nll_loss: log_probs of shape {} need i64 targets of shape [N], got {} {}", log_probs.shape().str(),
      name_of(target.dtype()), target.shape().str());
  EK_CHECK(target.device() == log_probs.device(), "nll_loss: log_probs are on {}, targets on {}",
           log_probs.device().str(), target.device().str());
  const Tensor loss = nll_loss_per_row(log_probs, target);
  switch (reduction) {
    case Reduction::mean:
      return mean(loss);
    case Reduction::sum:
      return sum(loss);
    case Reduction::none:
      break;
  }
  return loss;
}

Tensor cross_entropy(const Tensor& logits, const Tensor& target, Reduction reduction) {
  return nll_loss(log_softmax(logits), target, reduction);
}

}  // namespace evenkeel
