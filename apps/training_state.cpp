#include "training_state.h"

#include "core/random.h"
#include "nn/functional.h"
#include "nn/safetensors.h"
#include "program.h"

namespace evenkeel::app {
namespace {

/// Without options.weights where a checkpoint replaces them.
nn::Sequential make_network(const RunOptions& o, bool load_weights) {
  manual_seed(o.seed);
  nn::Sequential net = models::mnist_net(o.norm, o.groups);
  if (!o.weights.empty() && load_weights) {
    const NamedTensors weights = load_safetensors(o.weights);
    try {
      net.load_state_dict(weights);
    } catch (const Error& e) {
      fail<UsageError>("{} does not fit --norm {}: {}", o.weights.string(), models::name_of(o.norm),
                       e.what());
    }
  }
  net.to(o.device);
  return net;
}

}  // namespace

RunningTotals::RunningTotals(Device device) : totals_(zeros({2}, {DType::f64, device})) {}

void RunningTotals::add(const Tensor& log_probs, const Tensor& labels, const Tensor& mean_loss) {
  add_classification_totals(totals_, log_probs, labels, mean_loss);
  images_ += labels.size(0);
}

void RunningTotals::reset() {
  totals_.zero_();
  images_ = 0;
}

NamedTensors RunningTotals::state_dict() const {
  return {{"loss_and_correct", totals_}, {"images", from_vector(std::vector{images_}, {})}};
}

void RunningTotals::load_state_dict(const NamedTensors& state) {
  EK_CHECK(state.size() == 2, "load_state_dict: there are {} running totals, not 2", state.size());
  totals_.copy_(state[0].second);
  images_ = state[1].second.to_vector<std::int64_t>().at(0);
}

TrainingState::TrainingState(const RunOptions& o, const std::optional<Checkpoint>& checkpoint)
    : net(make_network(o, !checkpoint)),
      sgd(net.parameters(), o.sgd),
      schedule(sgd, o.step_size, o.gamma),
      totals(o.device) {
  if (!checkpoint) return;
  try {
    net.load_state_dict(checkpoint->part("network"));
    sgd.load_state_dict(checkpoint->part("optimizer"));
    schedule.load_state_dict(checkpoint->part("schedule"));
    totals.load_state_dict(checkpoint->part("totals"));
  } catch (const Error& e) {
    fail<DataError>("{} does not fit this network ({}): {}", (o.out / kCheckpointFile).string(), e.what(),
                    kCheckpointAdvice);
  }
  default_generator().set_count(checkpoint->draws);
  static_cast<Progress&>(*this) = *checkpoint;
}

void TrainingState::begin_next_epoch() {
  ++epoch;
  step = 0;
  seconds = 0;
  totals.reset();
}

Checkpoint TrainingState::checkpoint(const RunOptions& o) const {
  Checkpoint c{static_cast<const Progress&>(*this), recipe(o), default_generator().count(), {}};
  c.add("network", net.state_dict());
  c.add("optimizer", sgd.state_dict());
  c.add("schedule", schedule.state_dict());
  c.add("totals", totals.state_dict());
  return c;
}

}  // namespace evenkeel::app
