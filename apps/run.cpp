#include "run.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "evenkeel/base/error.h"
#include "evenkeel/core/json.h"
#include "evenkeel/nn/functional.h"
#include "evenkeel/nn/safetensors.h"
#include "program.h"

namespace evenkeel::app {
namespace {

/// Throws DataError if a weight of the network, read from `file`, is NaN or infinite, as every loss would be.
void require_finite_weights(const nn::Sequential& net, const std::filesystem::path& file) {
  for (const auto& [name, tensor] : net.state_dict()) {
    if (tensor.dtype() != DType::f32) continue;
    const std::vector<float> values = tensor.to_vector<float>();
    if (!std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }))
      fail<DataError>("{} has values that are not finite in {}: give other --weights", file.string(), name);
  }
}

/// The network of the options; without options.weights if a checkpoint replaces them.
nn::Sequential make_network(const RunOptions& o, bool load_weights, Generator& generator) {
  nn::Sequential net = mnist::network(o.norm, o.groups, &generator);
  if (!o.weights.empty() && load_weights) {
    const NamedTensors weights = load_safetensors(o.weights);
    try {
      net.load_state_dict(weights);
    } catch (const Error& e) {
      fail<UsageError>("{} does not fit --norm {}: {}", o.weights.string(), mnist::name_of(o.norm), e.what());
    }
    require_finite_weights(net, o.weights);
  }
  net.to(o.device);
  return net;
}

/// Throws Error unless `state` has the names, shapes and dtypes of `own`, in whatever order.
void check_form(const char* part, const NamedTensors& own, const NamedTensors& state) {
  const std::map<std::string, Tensor> expected(own.begin(), own.end());
  EK_CHECK(state.size() == own.size(), "{} has {} tensors, not {}", part, state.size(), own.size());
  for (const auto& [name, tensor] : state) {
    const auto found = expected.find(name);
    EK_CHECK(found != expected.end(), "{} has an unknown {}", part, in_quotes(name));
    const Tensor& like = found->second;
    EK_CHECK(tensor.dtype() == like.dtype() && tensor.shape() == like.shape(),
             "{} has {} as {} {}, not {} {}", part, name, name_of(tensor.dtype()), tensor.shape().str(),
             name_of(like.dtype()), like.shape().str());
  }
}

/// The tensor of that name in a state that has been checked for its form.
Tensor tensor_of(const NamedTensors& state, std::string_view name) {
  return std::find_if(state.begin(), state.end(), [&](const auto& entry) { return entry.first == name; })
      ->second;
}

data::BatchOptions batch_options(const RunOptions& o) {
  return {.size = o.batch_size, .seed = o.seed, .rotate = o.rotate, .device = o.device};
}

/// Throws Error unless a run of these options, whose generator has handed out `drawn` keys before its first
/// step, can have come to where the checkpoint is.
void check_values(const Checkpoint& c, const RunOptions& o, std::uint64_t drawn) {
  const double images = tensor_of(c.part("totals"), "images").item();
  const auto step = static_cast<double>(c.step), size = static_cast<double>(o.batch_size);
  const bool full = images == step * size, last = c.step == c.steps;
  EK_CHECK(full || (last && (step - 1) * size < images && images < step * size),
           "{} steps of {} images have seen {}", c.step, o.batch_size, images);
  const double correct = tensor_of(c.part("totals"), "loss_and_correct").slice(0, 1, 2).item();
  EK_CHECK(0 <= correct && correct <= images && correct == std::floor(correct), "{} of {} images are right",
           correct, images);
  EK_CHECK(c.rows.size() == 2 * static_cast<std::size_t>(c.epoch - 1),
           "it has {} rows of figures before epoch {}", c.rows.size(), c.epoch);
  const double lr = tensor_of(c.part("optimizer"), "lr").item();
  EK_CHECK(0 <= lr && std::isfinite(lr), "a learning rate of {}", lr);
  const double last_epoch = tensor_of(c.part("schedule"), "last_epoch").item();
  EK_CHECK(last_epoch == c.epoch - 1, "the schedule is after epoch {} in epoch {}", last_epoch, c.epoch);
  constexpr double kMostDraws = 1000;  // of a step: far more than a network has layers
  const double steps = static_cast<double>(c.epoch - 1) * static_cast<double>(c.steps) + step;
  EK_CHECK(c.draws >= drawn && static_cast<double>(c.draws - drawn) <= kMostDraws * steps,
           "{} random keys cannot have been used", c.draws);
}

/// Goes on from the checkpoint. Throws Error unless everything in it can be of this run.
void restore(Run& s, const Checkpoint& c) {
  for (const Tensor& p : s.net.parameters()) s.sgd.momentum_buffer(p);  // all are there after a step
  std::size_t tensors = 0;
  const auto check = [&](const char* part, const NamedTensors& own) {
    check_form(part, own, c.part(part));
    tensors += own.size();
  };
  check("network", s.net.state_dict());
  check("optimizer", s.sgd.state_dict());
  check("schedule", s.schedule.state_dict());
  check("totals", s.totals.state_dict());
  EK_CHECK(c.tensors.size() == tensors, "it has {} tensors, not {}", c.tensors.size(), tensors);
  check_values(c, s.options, s.generator.count());
  s.net.load_state_dict(c.part("network"));
  s.sgd.load_state_dict(c.part("optimizer"));
  s.schedule.load_state_dict(c.part("schedule"));
  s.totals.load_state_dict(c.part("totals"));
  s.generator.set_count(c.draws);
  static_cast<Progress&>(s) = c;
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
  check_form("totals", state_dict(), state);
  totals_.copy_(tensor_of(state, "loss_and_correct"));
  images_ = tensor_of(state, "images").to_vector<std::int64_t>().front();
}

Run::Run(const RunOptions& o, const data::Dataset& train, const std::optional<Checkpoint>& checkpoint)
    : options(o),
      generator(o.seed),
      net(make_network(o, !checkpoint, generator)),
      sgd(net.parameters(), o.sgd),
      schedule(sgd, o.step_size, o.gamma),
      totals(o.device),
      batches(train.batches(batch_options(o))) {
  if (!checkpoint) return;
  try {
    restore(*this, *checkpoint);
  } catch (const OutOfMemory&) {
    throw;
  } catch (const Error& e) {
    fail<DataError>("{} does not fit this run ({}): {}", (o.out / kCheckpointFile).string(), e.what(),
                    kCheckpointAdvice);
  }
}

std::string Run::name() const { return fmt::format("{}, seed {}", options.network(), options.seed); }

void Run::begin_next_epoch() {
  ++epoch;
  step = 0;
  seconds = 0;
  totals.reset();
}

Checkpoint Run::checkpoint() const {
  Checkpoint c{static_cast<const Progress&>(*this), recipe(options), generator.count(), {}, {}};
  c.add("network", net.state_dict());
  c.add("optimizer", sgd.state_dict());
  c.add("schedule", schedule.state_dict());
  c.add("totals", totals.state_dict());
  return c;
}

}  // namespace evenkeel::app
