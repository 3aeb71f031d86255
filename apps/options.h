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
  std::string dataset = "mnist";
  std::filesystem::path data;
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

  /// "bn-l1", "gn-b16", "bn-l1-proximal": the norm, the penalty, a batch size other than the recipe's.
  std::string network() const;
};

/// Whether L1 acts on a network, and how.
enum class Penalty { off, subgradient, proximal };

/// A matrix of networks, each with the seeds run.seed, run.seed + 1, ... The same seed gives all of them the
/// same order of images, rotations and first convolution weights.
struct StudyOptions {
  std::string command;  ///< line with which the program was called
  RunOptions run;       ///< what they have in common; out is the directory of the study
  std::vector<models::Norm> norms = {models::Norm::bn, models::Norm::gn, models::Norm::ln,
                                     models::Norm::ln_row};
  std::vector<Penalty>
      penalties;  ///< for every norm that can learn; empty: subgradient for bn, none for the others
  std::vector<std::int64_t> batch_sizes;
  std::vector<models::Norm> batch_norms = {models::Norm::bn, models::Norm::gn, models::Norm::ln};
  int batch_epochs = 3;
  int seeds = 1;

  /// norms x penalties, each as its run with the first seed.
  std::vector<RunOptions> networks() const;
  /// batch_sizes x batch_norms, without a penalty: batch_epochs epochs, the learning rate in proportion to
  /// the batch size and dropped after every epoch.
  std::vector<RunOptions> batch_networks() const;
  /// One of them with the i-th seed, in a directory whose name has the hash of its recipe.
  RunOptions run_of(const RunOptions& network, int i) const;
  /// All runs, seed by seed: where a study is stopped, its networks have the same seeds but one.
  std::vector<RunOptions> runs() const;
};

/// Nothing if --help or --version was asked for and printed. Throws UsageError, in one line, on options that
/// cannot be used, DeviceError on a device that is not there.
std::optional<RunOptions> parse_train_options(int argc, char** argv);
std::optional<StudyOptions> parse_study_options(int argc, char** argv);

/// The options that the result depends on. The device is one of them: its kernels add in another order.
nlohmann::json recipe(const RunOptions& options);
/// Eight hexadecimal digits of the SHA-256 of the recipe.
std::string recipe_hash(const RunOptions& options);
/// config.json: the recipe, the other options, and what the program was built with and runs on.
nlohmann::json config(const RunOptions& options);

}  // namespace evenkeel::app
