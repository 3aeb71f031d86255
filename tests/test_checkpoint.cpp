// Checkpoints of runs: what is saved is loaded, exactly, and damage is noticed wherever it is.
#include "checkpoint.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "compare.h"
#include "done.h"
#include "evenkeel/nn/safetensors.h"
#include "files.h"
#include "run.h"

using namespace evenkeel;
using namespace evenkeel::app;
using namespace evenkeel::test;

namespace {

Checkpoint sample() {
  Random random;
  Checkpoint c;
  c.recipe = {{"epochs", 20}, {"lr", 0.1}, {"seed", std::numeric_limits<std::uint64_t>::max()}};
  c.epoch = 3;
  c.step = 17;
  c.steps = 938;
  c.seconds = 1.0 / 3;
  c.draws = std::numeric_limits<std::uint64_t>::max() - 1;
  c.rows = {{.epoch = 1, .split = "train", .loss = 0.1 + 0.2, .accuracy = 1.0 / 7, .lr = 1e-3},
            {.epoch = 1, .split = "test", .loss = 5e-324, .l1 = 1e300, .sparsity = 0.5}};
  c.add("network", {{"0.weight", random.normal({2, 3}, {})}});
  c.add("totals", {{"loss", full({}, std::numeric_limits<double>::quiet_NaN(), {DType::f64})},
                   {"images", full({}, 64, {DType::i64})}});
  return c;
}

}  // namespace

TEST_CASE("a checkpoint goes through a file, bit for bit") {
  const TempDir dir;
  const Checkpoint saved = sample();
  save_checkpoint(dir / "file", saved);
  const Checkpoint loaded = load_checkpoint(dir / "file");
  CHECK(loaded.recipe == saved.recipe);
  CHECK(loaded.epoch == saved.epoch);
  CHECK(loaded.step == saved.step);
  CHECK(loaded.steps == saved.steps);
  CHECK(loaded.seconds == saved.seconds);
  CHECK(loaded.draws == saved.draws);
  REQUIRE(loaded.rows.size() == saved.rows.size());
  for (std::size_t i = 0; i < saved.rows.size(); ++i) CHECK(loaded.rows[i] == saved.rows[i]);
  for (const char* part : {"network", "totals"}) {
    const NamedTensors expected = saved.part(part), tensors = loaded.part(part);
    REQUIRE(tensors.size() == expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CHECK(tensors[i].first == expected[i].first);
      CHECK(same_bits(tensors[i].second, expected[i].second));
    }
  }
  CHECK(saved.part("network").front().first == "0.weight");
  CHECK(saved.part("net").empty());
}

TEST_CASE("a checkpoint says where it is") {
  Checkpoint c = sample();
  CHECK(c.where() == "in epoch 3 of 20, after step 17 of 938");
  c.step = c.steps;
  CHECK(c.where() == "after epoch 3 of 20");
}

TEST_CASE("a checkpoint with any byte changed, or without its end, is refused") {
  const TempDir dir;
  save_checkpoint(dir / "file", sample());
  const std::string whole = read_file(dir / "file");
  const auto refused = [&](const std::string& bytes) {
    write_file(dir / "file", bytes);
    try {
      load_checkpoint(dir / "file");
    } catch (const DataError& e) {
      return mentions(e.what(), {(dir / "file").string(), "remove it to start that run over"});
    }
    return Comparison{false, "it was loaded"};
  };
  for (std::size_t i = 0; i < whole.size(); ++i) {
    INFO("byte " << i << " of " << whole.size());
    std::string bytes = whole;
    bytes[i] = static_cast<char>(bytes[i] ^ 1);
    REQUIRE(refused(bytes));
    REQUIRE(refused(whole.substr(0, i)));
  }
}

namespace {

RunOptions options_in(const TempDir& dir) {
  RunOptions o;
  o.out = dir.path();
  o.epochs = 3;
  o.batch_size = 32;
  return o;
}

data::Dataset blank_images() {
  return {zeros({320, 28, 28}, {DType::u8}), zeros({320}, {DType::i64}), 0.5, 0.25};
}

/// In the second of three epochs, after 4 of 10 steps.
Checkpoint in_second_epoch(const RunOptions& o) {
  Run s(o, blank_images(), std::nullopt);
  for (const Tensor& p : s.net.parameters()) s.sgd.momentum_buffer(p);
  s.rows = {{.epoch = 1, .split = "train"}, {.epoch = 1, .split = "test"}};
  s.schedule.step();
  s.epoch = 2;
  s.step = 4;
  s.steps = 10;
  s.totals.load_state_dict({{"loss_and_correct", from_vector(std::vector{250.0, 100.0}, {2})},
                            {"images", full({}, 128, {DType::i64})}});
  return s.checkpoint();
}

/// Replaces one tensor; an undefined one is left out.
void replace(Checkpoint& c, const std::string& name, const Tensor& by) {
  const auto at = std::find_if(c.tensors.begin(), c.tensors.end(),
                               [&](const auto& entry) { return entry.first == name; });
  REQUIRE(at != c.tensors.end());
  at->second = by;
  if (!by.defined()) c.tensors.erase(at);
}

}  // namespace

TEST_CASE("a finished run whose DONE is of another recipe than its config.json is refused") {
  const TempDir dir;
  for (const std::string_view name : kResultFiles) write_file(dir / std::string(name), "content");
  Checkpoint c = sample();
  c.results = checksums_of_results(dir.path());
  save_checkpoint(dir / kDoneFile, c);
  CHECK_NOTHROW(verify_results(dir.path(), c.recipe));
  nlohmann::json other = c.recipe;
  other["seed"] = 7;
  const auto verify = [&] { verify_results(dir.path(), other); };
  CHECK_THROWS_AS(verify(), DataError);
  CHECK(mentions(error_of(verify), {(dir / kDoneFile).string(), "another recipe", "remove"}));
}

TEST_CASE("a run goes on from a checkpoint that fits it") {
  const TempDir dir;
  const RunOptions o = options_in(dir);
  save_checkpoint(dir / "file", in_second_epoch(o));
  const Run s(o, blank_images(), load_checkpoint(dir / "file"));
  CHECK(s.epoch == 2);
  CHECK(s.step == 4);
  CHECK(s.totals.images() == 128);
  CHECK(s.totals.correct() == 100);
  CHECK(s.rows.size() == 2);
}

TEST_CASE("a checkpoint that no run of its options can have made is refused, though its checksum is right") {
  const TempDir dir;
  const RunOptions o = options_in(dir);
  const Checkpoint good = in_second_epoch(o);
  const auto refused = [&](const char* what, auto change) {
    INFO(what);
    Checkpoint c = good;
    change(c);
    save_checkpoint(dir / "file", c);
    const auto load = [&] { Run(o, blank_images(), load_checkpoint(dir / "file")); };
    CHECK_THROWS_AS(load(), DataError);
    const std::string message = error_of(load);
    CHECK(mentions(message, {dir.path().string(), "remove it to start that run over"}));
    CHECK(message.find('\n') == std::string::npos);
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  refused("an epoch after the last", [](Checkpoint& c) { c.epoch = 7; });
  refused("epoch 0", [](Checkpoint& c) { c.epoch = 0; });
  refused("a negative step", [](Checkpoint& c) { c.step = -1; });
  refused("no step", [](Checkpoint& c) { c.step = 0; });
  refused("no steps", [](Checkpoint& c) { c.step = c.steps = 0; });
  refused("a step after the last", [](Checkpoint& c) { c.step = 11; });
  refused("negative seconds", [](Checkpoint& c) { c.seconds = -1; });
  refused("too many seconds", [](Checkpoint& c) { c.seconds = 1e308; });
  refused("seconds that are no number", [&](Checkpoint& c) { c.seconds = nan; });
  refused("more keys than steps draw", [](Checkpoint& c) { c.draws = UINT64_MAX; });
  refused("fewer keys than the weights need", [](Checkpoint& c) { c.draws = 0; });
  refused("a recipe that is a list", [](Checkpoint& c) { c.recipe = nlohmann::json::array(); });
  refused("a recipe without epochs", [](Checkpoint& c) { c.recipe.erase("epochs"); });
  refused("a recipe of half an epoch", [](Checkpoint& c) { c.recipe["epochs"] = 2.5; });
  refused("rows in another order", [](Checkpoint& c) { std::swap(c.rows[0], c.rows[1]); });
  refused("rows twice", [](Checkpoint& c) { c.rows.push_back(c.rows[0]); });
  refused("no rows", [](Checkpoint& c) { c.rows.clear(); });
  refused("a loss that is no number", [&](Checkpoint& c) { c.rows[0].loss = nan; });
  refused("an accuracy above 1", [](Checkpoint& c) { c.rows[1].accuracy = 2; });
  refused("another split", [](Checkpoint& c) { c.rows[0].split = "trahn"; });
  refused("a missing weight", [](Checkpoint& c) { replace(c, "network.0.weight", {}); });
  refused("a weight of another shape", [](Checkpoint& c) { replace(c, "network.0.weight", zeros({3})); });
  refused("a weight of another dtype", [](Checkpoint& c) {
    replace(c, "network.0.weight", c.part("network").front().second.to(DType::f64));
  });
  refused("a weight too many", [](Checkpoint& c) { c.add("network", {{"99.weight", zeros({3})}}); });
  refused("a part too many", [](Checkpoint& c) { c.add("junk", {{"weight", zeros({3})}}); });
  refused("a missing momentum", [](Checkpoint& c) { replace(c, "optimizer.0.momentum_buffer", {}); });
  refused("a negative rate", [](Checkpoint& c) { replace(c, "optimizer.lr", full({}, -1, {DType::f64})); });
  refused("no rate", [&](Checkpoint& c) { replace(c, "optimizer.lr", full({}, nan, {DType::f64})); });
  refused("a schedule elsewhere",
          [](Checkpoint& c) { replace(c, "schedule.last_epoch", full({}, 1e300, {DType::f64})); });
  refused("negative images", [](Checkpoint& c) { replace(c, "totals.images", full({}, -5, {DType::i64})); });
  refused("images of other steps",
          [](Checkpoint& c) { replace(c, "totals.images", full({}, 1, {DType::i64})); });
  refused("no images", [](Checkpoint& c) { replace(c, "totals.images", zeros({0}, {DType::i64})); });
  refused("more right than there are",
          [](Checkpoint& c) { replace(c, "totals.loss_and_correct", full({2}, 1e9, {DType::f64})); });
}
