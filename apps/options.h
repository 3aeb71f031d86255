// The options of train_mnist and compare_norms, with PyTorch's spellings, and what is recorded of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/device.h"
#include "nn/models.h"
#include "nn/optim.h"

namespace evenkeel::app {

/// One training run. The defaults are the recipe of the study.
struct RunOptions {
  std::filesystem::path data = "data/mnist";
  models::Norm norm = models::Norm::bn;
  std::int64_t groups = 2;
  int epochs = 20;
  std::int64_t batch_size = 64;
  std::int64_t test_batch_size = 1000;
  optim::SgdOptions sgd = {.lr = 0.01, .momentum = 0.9};
  int step_size = 6;
  double gamma = 0.1;
  double rotate = 7;
  std::uint64_t seed = 1;
  Device device;
  int threads = 0;
  std::int64_t log_interval = 100;
  std::int64_t max_steps = 0;
  std::filesystem::path out;
  std::filesystem::path weights;
  bool save_logits = false;
  bool quiet = false;
  bool resume = false;

  /// "bn-l1": the network and whether L1 acts on it.
  std::string network() const;
};

/// Several networks, each with the seeds run.seed, run.seed + 1, ...
struct StudyOptions {
  RunOptions run;
  std::vector<models::Norm> norms = {models::Norm::bn, models::Norm::gn, models::Norm::ln,
                                     models::Norm::ln_row};
  int seeds = 1;

  /// All runs, in order. L1 acts on batch norm only, as in the recipe.
  std::vector<RunOptions> runs() const;
};

/// Nothing if --help or --version was asked for and printed. Throws UsageError, in one line, on options that
/// cannot be used, DeviceError on a device that is not there.
std::optional<RunOptions> parse_train_options(int argc, char** argv);
std::optional<StudyOptions> parse_study_options(int argc, char** argv);

/// The options that the result depends on. The device is one of them: its kernels add in another order.
nlohmann::json recipe(const RunOptions& options);
/// config.json: the recipe, the other options, and what the program was built with and runs on.
nlohmann::json config(const RunOptions& options);

}  // namespace evenkeel::app
