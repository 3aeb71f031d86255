// Training op by op.
#pragma once

#include "training_engine.h"

namespace evenkeel::app {

/// A step of training: forward, backward and the update of the parameters; added to run.totals. Returns the
/// mean loss of the batch, a scalar on the device.
Tensor training_step(Run& run, const data::Batch& batch);

/// Enqueues every op of a step.
class LayersEngine : public TrainingEngine {
 public:
  explicit LayersEngine(Run& run) : run_(run) {}
  std::int64_t train(std::int64_t first, std::int64_t end) override;
  double loss() const override { return loss_.item(); }
  bool runs_ahead() const override { return false; }

 private:
  Run& run_;
  Tensor loss_;
};

}  // namespace evenkeel::app
