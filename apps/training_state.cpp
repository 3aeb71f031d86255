#include "training_state.h"

#include <cmath>

#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"
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

RunningTotals::RunningTotals(Device device)
    : loss_(zeros({}, {DType::f64, device})), correct_(zeros({}, {DType::f64, device})) {}

void RunningTotals::add(const Tensor& log_probs, const Tensor& labels, const Tensor& mean_loss) {
  const NoGrad guard;
  const std::int64_t n = labels.size(0);
  const Tensor hits = equal(argmax(log_probs, 1).to(DType::f64), labels.to(DType::f64));
  loss_.add_(mean_loss.detach().to(DType::f64), static_cast<double>(n));
  correct_.add_(sum(hits));
  images_ += n;
}

std::int64_t RunningTotals::correct() const { return std::llround(correct_.item()); }

NamedTensors RunningTotals::state_dict() const {
  return {{"loss", loss_}, {"correct", correct_}, {"images", from_vector(std::vector{images_}, {})}};
}

void RunningTotals::load_state_dict(const NamedTensors& state) {
  EK_CHECK(state.size() == 3, "load_state_dict: there are {} running totals, not 3", state.size());
  loss_.copy_(state[0].second);
  correct_.copy_(state[1].second);
  images_ = state[2].second.to_vector<std::int64_t>().at(0);
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
  totals = RunningTotals(net.parameters().front().device());
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
