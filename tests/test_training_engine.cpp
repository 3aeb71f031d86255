// Training by a CUDA graph against training op by op: the same bits. Skipped without a device.
#include "training_engine.h"

#include <cmath>

#include "compare.h"
#include "evenkeel/core/cuda.h"
#include "evenkeel/nn/fusion.h"
#include "evenkeel/nn/safetensors.h"
#include "files.h"
#include "graph_engine.h"
#include "resume.h"
#include "training.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

/// 10 images: two batches of four, and two images.
data::Dataset random_images() {
  Random random(7);
  return {random.uniform({10, 28, 28}, {}, 0, 256).to(DType::u8), random.labels(10, 10, Device::cpu()),
          0.1307, 0.3081};
}

app::RunOptions options_of(mnist::Norm norm, bool graph, app::Engine engine = app::Engine::layers) {
  app::RunOptions o;
  o.norm = norm;
  o.batch_size = 4;
  o.seed = 3;
  o.sgd.l1 = 1e-5;
  o.step_size = 1;
  o.device = Device::cuda();
  o.graph = graph;
  o.engine = engine;
  return o;
}

/// The results of a run, and what it shows on the way.
struct Outcome {
  NamedTensors state;
  std::vector<double> losses;
  std::uint64_t draws;
};

void append(NamedTensors& all, const NamedTensors& some) { all.insert(all.end(), some.begin(), some.end()); }

NamedTensors copies_of(const app::Run& s) {
  NamedTensors all;
  append(all, s.net.state_dict());
  append(all, s.sgd.state_dict());
  append(all, s.totals.state_dict());
  for (auto& [name, tensor] : all) tensor = tensor.to(Device::cpu()).clone();
  return all;
}

/// Steps `first` ... of the epochs, the last of which ends after `last_steps`.
void train(app::Run& s, int epochs, std::int64_t last_steps, std::vector<double>& losses) {
  const auto engine = app::make_engine({&s});
  const bool has_graph = dynamic_cast<const app::GraphEngine*>(engine.get()) != nullptr;
  CHECK(has_graph == (s.options.graph && s.options.engine == app::Engine::layers));
  REQUIRE(s.batches.count() == 3);
  while (true) {
    s.batches.begin_epoch(static_cast<std::uint64_t>(s.epoch));
    const std::int64_t end = s.epoch == epochs ? last_steps : s.batches.count();
    for (; s.step < end; ++s.step) {
      engine->train(s.step, s.step + 1);
      losses.push_back(engine->loss());
    }
    if (s.epoch == epochs) return;
    losses.push_back(s.totals.mean_loss());
    losses.push_back(static_cast<double>(s.totals.correct()));
    s.schedule.step();
    s.rows.resize(2 *
                  static_cast<std::size_t>(s.epoch));  // the figures of an epoch, which nothing here reads
    s.begin_next_epoch();
  }
}

Outcome run(mnist::Norm norm, bool graph, bool interrupted, app::Engine engine = app::Engine::layers) {
  const app::RunOptions o = options_of(norm, graph, engine);
  const data::Dataset images = random_images().to(o.device);
  Outcome outcome;
  std::optional<app::Checkpoint> checkpoint;
  if (interrupted) {  // in the middle of the second epoch
    app::Run s(o, images, {});
    train(s, 2, 1, outcome.losses);
    checkpoint = s.checkpoint();
    for (auto& [name, tensor] : checkpoint->tensors) tensor = tensor.to(Device::cpu()).clone();
  }
  app::Run s(o, images, checkpoint);
  train(s, 3, 2, outcome.losses);
  outcome.state = copies_of(s);
  outcome.draws = s.generator.count();
  return outcome;
}

void check_same(const Outcome& a, const Outcome& b) {
  CHECK(a.losses == b.losses);
  CHECK(a.draws == b.draws);
  test::check_same(a.state, b.state);
}

}  // namespace

TEST_CASE("a run by a graph leaves the bits of one op by op, continued ones too") {
  if (cuda_devices().count == 0) {
    WARN("no CUDA device: " << cuda_devices().reason);
    return;
  }
  for (const mnist::Norm norm : {mnist::Norm::bn, mnist::Norm::gn}) {
    INFO(mnist::name_of(norm));
    const Outcome plain = run(norm, false, false);
    CHECK(plain.losses.size() == 3 + 3 + 2 + 4);
    CHECK(plain.draws > 2 * (3 + 3 + 2));
    check_same(run(norm, true, false), plain);
    if (norm == mnist::Norm::bn) check_same(run(norm, true, true), plain);
  }
}

TEST_CASE("a run inside one kernel, continued in an epoch, leaves the bits of one that was not interrupted") {
  if (cuda_devices().count == 0) {
    WARN("no CUDA device: " << cuda_devices().reason);
    return;
  }
  for (const app::Engine engine : {app::Engine::grid, app::Engine::sm}) {
    INFO(name_of(engine));
    const Outcome whole = run(mnist::Norm::gn, true, false, engine);
    check_same(run(mnist::Norm::gn, true, true, engine), whole);
    const Outcome layers = run(mnist::Norm::gn, true, false);
    REQUIRE(whole.losses.size() == layers.losses.size());
    CHECK(whole.draws == layers.draws);
    for (std::size_t i = 0; i < 3; ++i) CHECK(std::abs(whole.losses[i] - layers.losses[i]) < 1e-4);
  }
}

TEST_CASE("runs that are trained together write what each of them writes alone") {
  if (cuda_devices().count == 0) {
    WARN("no CUDA device: " << cuda_devices().reason);
    return;
  }
  const TempDir folder;
  const app::Mnist mnist{random_images(), random_images()};
  std::vector<app::RunOptions> together, alone;
  for (const std::uint64_t seed : {3, 4}) {
    app::RunOptions o = options_of(mnist::Norm::bn, true, app::Engine::sm);
    o.seed = seed;
    o.epochs = 2;
    o.quiet = true;
    o.data = "none";
    o.out = folder / fmt::format("together-{}", seed);
    together.push_back(o);
    o.out = folder / fmt::format("alone-{}", seed);
    alone.push_back(o);
  }
  app::train_together(together, mnist);
  for (std::size_t i = 0; i < alone.size(); ++i) {
    app::train_run(alone[i], mnist);
    const NamedTensors a = load_safetensors(together[i].out / "model.safetensors"),
                       b = load_safetensors(alone[i].out / "model.safetensors");
    REQUIRE(a.size() == b.size());
    for (std::size_t j = 0; j < a.size(); ++j) CHECK(same_bits(a[j].second, b[j].second));
    CHECK(app::finished_before(together[i]));
  }
}

TEST_CASE("a step has at most 30 operations, all of them kernels") {
  if (cuda_devices().count == 0) {
    WARN("no CUDA device: " << cuda_devices().reason);
    return;
  }
  const data::Dataset images = random_images();
  const auto operations_of = [&](mnist::Norm norm) {
    app::RunOptions o = options_of(norm, true);
    o.batch_size = 1;  // as many operations as for a large one
    app::Run s(o, images.to(o.device), {});
    app::GraphEngine engine(s);
    s.batches.begin_epoch(1);
    engine.train(0, 1);
    CHECK(engine.kernel_nodes() == 0);  // op by op
    engine.train(1, 2);
    CHECK(engine.nodes() == engine.kernel_nodes());
    return engine.nodes();
  };
  for (const std::string_view name : mnist::norm_names()) {
    INFO(name);
    const std::int64_t together = operations_of(mnist::parse_norm(name));
    CHECK(together > 20);
    CHECK(together <= 30);
    const NoFusion guard;
    const std::int64_t one_by_one = operations_of(mnist::parse_norm(name));
    INFO(one_by_one << " operations without fusion");
    CHECK(one_by_one > 2 * together);
  }
}
