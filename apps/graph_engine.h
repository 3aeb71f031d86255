// Training by a CUDA graph.
#pragma once

#include <memory>

#include "evenkeel/core/cuda.h"
#include "training_engine.h"

namespace evenkeel::app {

/// Records one step and launches it again and again: data, order, angles, learning rate and counters are in
/// the device's memory, and the host does nothing for a step but launch it. The first step of the process,
/// which makes what the graph finds there, and those on smaller batches run op by op. The bits are those of
/// LayersEngine.
class GraphEngine : public TrainingEngine {
 public:
  explicit GraphEngine(Run& run) : run_(run) {}
  std::int64_t train(std::int64_t first, std::int64_t end) override;
  double loss() const override { return loss_.item(); }
  bool runs_ahead() const override { return true; }
  /// The kernels of a step that is a launch of the graph, and all its operations; 0 before the first.
  std::int64_t kernel_nodes() const;
  std::int64_t nodes() const;

 private:
  /// What a launch starts from, on the device: the image, in the order of the epoch, and how many keys the
  /// generator has handed out.
  struct Counters {
    std::int64_t image;
    std::uint64_t draws;
    friend bool operator==(const Counters&, const Counters&) = default;
  };
  Tensor on_device(const Counters& counters) const;
  void record();
  void launch(std::int64_t step);

  Run& run_;
  Tensor loss_, graph_loss_;
  bool has_begun_ = false;        // a step was taken
  Tensor counters_, increments_;  // i64 [2] on the device: Counters, and what a launch adds to them
  Counters next_{-1, 0};          // what counters_ holds once all launches are done
  std::uint64_t draws_ = 0;       // keys a step
  std::shared_ptr<CudaGraph> graph_;
};

}  // namespace evenkeel::app
