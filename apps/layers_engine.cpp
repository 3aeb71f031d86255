#include "layers_engine.h"

#include "evenkeel/nn/functional.h"

namespace evenkeel::app {

Tensor training_step(Run& run, const data::Batch& batch) {
  run.sgd.zero_grad();
  const Tensor log_probs = run.net(batch.images);
  const Tensor loss = nll_loss(log_probs, batch.labels);
  loss.backward();
  run.sgd.step();
  run.totals.add(log_probs, batch.labels, loss);
  return loss.detach();
}

std::int64_t LayersEngine::train(std::int64_t first, std::int64_t) {
  loss_ = training_step(run_, run_.batches.get(first));
  return first + 1;
}

}  // namespace evenkeel::app
