#include "graph_engine.h"

#include "evenkeel/core/random.h"
#include "layers_engine.h"

namespace evenkeel::app {

Tensor GraphEngine::on_device(const Counters& c) const {
  return from_vector(std::vector{c.image, static_cast<std::int64_t>(c.draws)}, {2}, run_.options.device);
}

std::int64_t GraphEngine::train(std::int64_t first, std::int64_t) {
  const bool is_whole = (first + 1) * run_.options.batch_size <= run_.batches.order().size(0);
  if (has_begun_ && is_whole) {
    launch(first);
  } else {
    loss_ = training_step(run_, run_.batches.get(first));
    has_begun_ = true;
  }
  return first + 1;
}

void GraphEngine::launch(std::int64_t step) {
  if (graph_ == nullptr) record();
  const std::int64_t images = run_.options.batch_size;
  const Counters now{step * images, run_.generator.count()};
  if (next_ != now) counters_.copy_(on_device(now));
  if constexpr (kCudaEnabled) graph_->launch();
  loss_ = graph_loss_;
  run_.totals.count(images);
  next_ = {now.image + images, now.draws + draws_};
  run_.generator.set_count(next_.draws);
  EK_CHECK(next_.draws >> 32 == 0, "random: more than 2^32 keys were drawn");
}

void GraphEngine::record() {
  counters_ = on_device({0, 0});
  increments_ = on_device({0, 0});
  counters_.add_(increments_);  // loads the kernel, which may have to wait for the device
  const std::int64_t* counters = counters_.data<std::int64_t>();
  const auto step = [&] {
    const RecordedDraws recorded(run_.generator, reinterpret_cast<const std::uint64_t*>(counters + 1));
    graph_loss_ = training_step(run_, run_.batches.get_from(counters_.slice(0, 0, 1)));
    counters_.add_(increments_);
    draws_ = recorded.used();
  };
  if constexpr (kCudaEnabled) graph_ = std::make_shared<CudaGraph>(run_.options.device.index, step);
  run_.totals.count(-run_.options.batch_size);  // which was added, but not trained on
  increments_.copy_(on_device({run_.options.batch_size, draws_}));
}

std::int64_t GraphEngine::kernel_nodes() const { return graph_ != nullptr ? graph_->kernel_nodes() : 0; }
std::int64_t GraphEngine::nodes() const { return graph_ != nullptr ? graph_->nodes() : 0; }

}  // namespace evenkeel::app
