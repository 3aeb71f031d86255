// What takes the steps of training: op by op, as a CUDA graph, or inside one kernel.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "run.h"

namespace evenkeel::app {

/// Takes the steps of the epoch in progress. It owns nothing of a run, all of which must outlive it.
class TrainingEngine {
 public:
  virtual ~TrainingEngine() = default;
  /// Enqueues the step on batch `first`, and perhaps those after it up to `end`; adds them to the totals of
  /// the run. Returns the first step that is left.
  virtual std::int64_t train(std::int64_t first, std::int64_t end) = 0;
  /// The mean loss of the last step's batch, of the first run. Waits for the device.
  virtual double loss() const = 0;
  /// True if the host is done with steps long before the device.
  virtual bool runs_ahead() const = 0;
};

/// The engine that the options of the runs name. Several runs, which only one kernel trains together, are at
/// the same step, and share norm, groups, batch size and device. Throws UsageError if the engine cannot train
/// this network on this device.
std::unique_ptr<TrainingEngine> make_engine(const std::vector<Run*>& runs);

}  // namespace evenkeel::app
