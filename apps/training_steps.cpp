#include "training_steps.h"

#include "core/random.h"
#include "nn/functional.h"

namespace evenkeel::app {
namespace {

Tensor counts(std::int64_t images, std::uint64_t draws, Device device) {
  return from_vector(std::vector{images, static_cast<std::int64_t>(draws)}, {2}, device);
}

}  // namespace

TrainingSteps::TrainingSteps(TrainingState& state, const data::Dataset& train, const RunOptions& o)
    : state_(state),
      options_(o),
      images_(train.size()),
      batches_(train.batches({.size = o.batch_size,
                              .seed = o.seed,
                              .epoch = static_cast<std::uint64_t>(state.epoch),
                              .rotate = o.rotate,
                              .device = o.device,
                              .format = fastest_format(o.device)})) {}

void TrainingSteps::begin_epoch(int epoch) {
  batches_.begin_epoch(static_cast<std::uint64_t>(epoch));
  counters_agree_ = false;
}

Tensor TrainingSteps::train_on(const data::Batch& batch) {
  state_.sgd.zero_grad();
  const Tensor log_probs = state_.net(batch.images);
  const Tensor loss = nll_loss(log_probs, batch.labels);
  loss.backward();
  state_.sgd.step();
  state_.totals.add(log_probs, batch.labels, loss);
  return loss.detach();
}

void TrainingSteps::run(std::int64_t i) {
  const bool is_whole = (i + 1) * options_.batch_size <= images_;
  if (has_graph() && ran_ && is_whole) return run_graph(i);
  loss_ = train_on(batches_.get(i));
  ran_ = true;
  counters_agree_ = false;
}

void TrainingSteps::run_graph(std::int64_t i) {
  if (graph_ == nullptr) record();
  Generator& generator = default_generator();
  if (!counters_agree_) {
    counters_.copy_(counts(i * options_.batch_size, generator.count(), options_.device));
    counters_agree_ = true;
  }
  if constexpr (kCudaEnabled) graph_->launch();
  loss_ = graph_loss_;
  state_.totals.count(options_.batch_size);
  generator.set_count(generator.count() + draws_);
  EK_CHECK(generator.count() >> 32 == 0, "random: more than 2^32 keys were drawn");
}

void TrainingSteps::record() {
  const Device device = options_.device;
  counters_ = counts(0, 0, device);
  increments_ = counts(0, 0, device);
  counters_.add_(increments_);  // loads the kernel, which may have to wait for the device
  const std::int64_t* counters = counters_.data<std::int64_t>();
  const auto step = [&] {
    const RecordedDraws recorded(reinterpret_cast<const std::uint64_t*>(counters + 1));
    graph_loss_ = train_on(batches_.get_from(counters_.slice(0, 0, 1)));
    counters_.add_(increments_);
    draws_ = recorded.used();
  };
  if constexpr (kCudaEnabled) graph_ = std::make_shared<CudaGraph>(device.index, step);
  state_.totals.count(-options_.batch_size);  // which was added, but not trained on
  increments_.copy_(counts(options_.batch_size, draws_, device));
}

std::int64_t TrainingSteps::kernel_nodes() const { return graph_ != nullptr ? graph_->kernel_nodes() : 0; }
std::int64_t TrainingSteps::nodes() const { return graph_ != nullptr ? graph_->nodes() : 0; }

void TrainingSteps::wait() const {
  if constexpr (kCudaEnabled) synchronize(options_.device);
}

}  // namespace evenkeel::app
