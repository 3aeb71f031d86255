#include "training_steps.h"

#include <algorithm>

#include "evenkeel/core/random.h"
#include "evenkeel/nn/functional.h"
#include "program.h"

namespace evenkeel::app {
namespace {

Tensor counts(std::int64_t images, std::uint64_t draws, Device device) {
  return from_vector(std::vector{images, static_cast<std::int64_t>(draws)}, {2}, device);
}

std::unique_ptr<data::Batches> batches_of(const Trainee& t, const data::Dataset& train) {
  const RunOptions& o = t.options;
  return std::make_unique<data::Batches>(train.batches({.size = o.batch_size,
                                                        .seed = o.seed,
                                                        .epoch = static_cast<std::uint64_t>(t.state->epoch),
                                                        .rotate = o.rotate,
                                                        .device = o.device,
                                                        .format = fastest_format(o.device)}));
}

std::vector<std::unique_ptr<data::Batches>> batches_of_all(const std::vector<Trainee>& trainees,
                                                           const data::Dataset& train) {
  std::vector<std::unique_ptr<data::Batches>> all;
  for (const Trainee& t : trainees) all.push_back(batches_of(t, train));
  return all;
}

/// The most blocks of each of `runs` runs: the whole device among them all, or one.
int blocks_of(const RunOptions& o, std::size_t runs) {
  if (o.engine == Engine::sm && runs == 1) return 1;
  return std::max(1, mnist::NetTrainer::most_networks(o.device) / static_cast<int>(runs));
}

}  // namespace

TrainingSteps::TrainingSteps(TrainingState& state, const data::Dataset& train, const RunOptions& o)
    : TrainingSteps({{&state, o, &default_generator()}}, train) {}

TrainingSteps::TrainingSteps(const std::vector<Trainee>& trainees, const data::Dataset& train)
    : trainees_(trainees),
      state_(*trainees.front().state),
      options_(trainees.front().options),
      images_(train.size()),
      all_batches_(batches_of_all(trainees, train)),
      batches_(*all_batches_.front()) {
  if (options_.engine == Engine::layers) return;
  std::vector<mnist::NetTask> tasks;
  for (std::size_t i = 0; i < trainees.size(); ++i) {
    TrainingState& s = *trainees[i].state;
    if (const std::string why = mnist::NetTrainer::why_not(s.net); !why.empty())
      fail<UsageError>("--engine {}: {}; use --engine layers", name_of(options_.engine), why);
    tasks.push_back({&s.net, &s.sgd, all_batches_[i].get(), s.totals.sums(), trainees[i].generator});
  }
  one_kernel_ = std::make_unique<mnist::NetTrainer>(std::move(tasks), blocks_of(options_, trainees.size()));
}

void TrainingSteps::begin_epoch(int epoch) {
  for (const auto& batches : all_batches_) batches->begin_epoch(static_cast<std::uint64_t>(epoch));
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

std::int64_t TrainingSteps::run(std::int64_t i, std::int64_t end) {
  if (one_kernel_) {
    one_kernel_->run(i, end - i);
    const std::int64_t images = std::min(end * options_.batch_size, images_) - i * options_.batch_size;
    for (const Trainee& t : trainees_) t.state->totals.count(images);
    return end;
  }
  run_one(i);
  return i + 1;
}

void TrainingSteps::run_one(std::int64_t i) {
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
