#include "evenkeel/core/dispatch.h"
#include "evenkeel/kernels/softmax.h"
#include "evenkeel/nn/functional/common.h"

namespace evenkeel {

using namespace functional;

namespace {

/// The loss of each row, [N].
Tensor nll_loss_per_row(const Tensor& log_probs, const Tensor& target) {
  const Tensor x = dense(log_probs), labels = dense(target);
  const std::int64_t M = x.size(0), D = x.size(1);
  check_range("nll_loss", labels, D);
  Tensor loss = empty({M}, x.options());
  dispatch_floating(
      x.dtype(),
      [&]<typename T>() {
        const NllLossForwardArgs<T> args{.loss = loss.mutable_data<T>(),
                                         .x = x.data<T>(),
                                         .target = labels.data<std::int64_t>(),
                                         .M = M,
                                         .D = D};
        run_kernel<cpu::nll_loss_forward<T>, cuda::nll_loss_forward<T>>("nll_loss_forward", x.device(), args);
      },
      "nll_loss");
  record("nll_loss", loss, {&log_probs}, [labels = Saved(labels), M, D](const Tensor& dloss) {
    Tensor dx = empty({M, D}, dloss.options());
    dispatch_floating(dloss.dtype(), [&]<typename T>() {
      const NllLossBackwardArgs<T> args{.dx = dx.mutable_data<T>(),
                                        .dloss = dloss.data<T>(),
                                        .target = labels.get().data<std::int64_t>(),
                                        .M = M,
                                        .D = D};
      run_kernel<cpu::nll_loss_backward<T>, cuda::nll_loss_backward<T>>("nll_loss_backward", dloss.device(),
                                                                        args);
    });
    return std::vector{dx};
  });
  return loss;
}

/// Their mean or sum on a CUDA device, in a kernel each way.
Tensor nll_loss_sum(const Tensor& log_probs, const Tensor& target, double scale) {
  const Tensor x = dense(log_probs), labels = dense(target);
  const std::int64_t M = x.size(0), D = x.size(1);
  Tensor loss = empty({}, x.options());
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const NllLossSumArgs<T> args{.loss = out<T>(loss),
                                 .x = in<T>(x),
                                 .target = in<std::int64_t>(labels),
                                 .M = M,
                                 .D = D,
                                 .scale = scale};
    run_cuda_kernel<cuda::nll_loss_sum<T>>("nll_loss_sum", x.device(), args);
  });
  record("nll_loss", loss, {&log_probs}, [labels = Saved(labels), M, D, scale](const Tensor& dloss) {
    Tensor dx = empty({M, D}, dloss.options());
    dispatch_floating(dloss.dtype(), [&]<typename T>() {
      const NllLossBackwardArgs<T> args{.dx = out<T>(dx),
                                        .dloss = in<T>(dloss),
                                        .target = in<std::int64_t>(*labels),
                                        .M = M,
                                        .D = D,
                                        .dloss_stride = 0,
                                        .scale = scale};
      run_kernel<cpu::nll_loss_backward<T>, cuda::nll_loss_backward<T>>("nll_loss_backward", dloss.device(),
                                                                        args);
    });
    return std::vector{dx};
  });
  return loss;
}

void check_classes(const char* op, const Tensor& log_probs, const Tensor& target) {
  EK_CHECK(
      log_probs.rank() == 2 && target.shape() == Shape{log_probs.size(0)} && target.dtype() == DType::i64,
      "{}: log_probs of shape {} need i64 targets of shape [N], got {} {}", op, log_probs.shape().str(),
      name_of(target.dtype()), target.shape().str());
  EK_CHECK(target.device() == log_probs.device(), "{}: log_probs are on {}, targets on {}", op,
           log_probs.device().str(), target.device().str());
  EK_CHECK(target.numel() == 0 || log_probs.size(1) > 0,
           "{}: log_probs of shape {} have no class to be a target", op, log_probs.shape().str());
}

}  // namespace

Tensor nll_loss(const Tensor& log_probs, const Tensor& target, Reduction reduction) {
  check_classes("nll_loss", log_probs, target);
  const std::int64_t N = log_probs.size(0);
  if (log_probs.device().is_cuda() && reduction != Reduction::none && N > 0) {
    const double scale = reduction == Reduction::mean ? 1 / static_cast<double>(N) : 1;
    return nll_loss_sum(log_probs, target, scale);
  }
  const Tensor loss = nll_loss_per_row(log_probs, target);
  switch (reduction) {
    case Reduction::mean:
      return N > 0 ? mean(loss) : mean_of_nothing(loss);
    case Reduction::sum:
      return sum(loss);
    case Reduction::none:
      break;
  }
  return loss;
}

void add_classification_totals(Tensor& totals, const Tensor& log_probs, const Tensor& target,
                               const Tensor& mean_loss) {
  check_classes("add_classification_totals", log_probs, target);
  EK_CHECK(
      totals.shape() == Shape{2} && totals.dtype() == DType::f64 && totals.device() == log_probs.device(),
      "add_classification_totals: totals are {} {} on {}, need f64 [2] on {}", name_of(totals.dtype()),
      totals.shape().str(), totals.device().str(), log_probs.device().str());
  check_same_kind("add_classification_totals", {&log_probs, &mean_loss});
  EK_CHECK(mean_loss.numel() == 1,
           "add_classification_totals: the mean loss is one number, this has shape {}",
           mean_loss.shape().str());
  if (log_probs.size(0) == 0) return;  // the mean of no losses is NaN
  DenseTarget sums("add_classification_totals", totals);
  const Tensor x = apart_from(dense(log_probs), {&totals}), labels = dense(target),
               loss = apart_from(dense(mean_loss), {&totals});
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const ClassificationTotalsArgs<T> args{.totals = out<double>(sums.memory()),
                                           .x = in<T>(x),
                                           .mean_loss = in<T>(loss),
                                           .target = in<std::int64_t>(labels),
                                           .M = x.size(0),
                                           .D = x.size(1)};
    run_kernel<cpu::classification_totals<T>, cuda::classification_totals<T>>("classification_totals",
                                                                              x.device(), args);
  });
  sums.store();
}

Tensor accuracy(const Tensor& logits, const Tensor& target) {
  check_classes("accuracy", logits, target);
  const Tensor x = dense(logits), labels = dense(target);
  check_range("accuracy", labels, x.size(1));
  Tensor totals = zeros({2}, {DType::f64, x.device()});
  add_classification_totals(totals, x, labels, zeros({}, x.options()));
  return totals.slice(0, 1, 2).reshape({}) / static_cast<double>(x.size(0));
}

Tensor cross_entropy(const Tensor& logits, const Tensor& target, Reduction reduction) {
  return nll_loss(log_softmax(logits), target, reduction);
}

}  // namespace evenkeel
