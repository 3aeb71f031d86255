// Checkpoints of runs: what is saved is loaded, exactly, and damage is noticed wherever it is.
#include "apps/checkpoint.h"

#include <limits>

#include "compare.h"
#include "files.h"

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
