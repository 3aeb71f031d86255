// The options of a training run, with PyTorch's spellings, and what is recorded of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "evenkeel/apps/mnist/network.h"
#include "evenkeel/core/device.h"
#include "evenkeel/nn/optim.h"

namespace CLI {
class App;
}

namespace evenkeel::app {

/// What runs a training step. layers: a kernel an op or fused block. grid: one kernel on the whole GPU. sm:
/// one kernel on one of its multiprocessors.
enum class Engine { layers, grid, sm };

constexpr std::int64_t kTrainImages = 60000, kTestImages = 10000;  ///< of each data set

/// One training run. The defaults are the recipe of the study.
struct RunOptions {
  std::string dataset = "mnist";
  std::filesystem::path data;
  mnist::Norm norm = mnist::Norm::bn;
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
  std::int64_t max_steps = 0;    // of each epoch; 0: all
  std::int64_t test_images = 0;  // the first ones; 0: all
  std::filesystem::path out;
  std::filesystem::path weights;
  std::string weights_sha256;  // of that file
  bool save_logits = false;
  bool quiet = false;
  Engine engine = Engine::layers;
  bool graph = true;
  bool profile = false;
  bool summary = false;
  bool resume = false;     // what is in `out`
  bool may_start = false;  // with resume: if nothing is there

  /// "bn-l1", "gn-b16", "bn-l1-proximal": the norm, the penalty, a batch size other than the recipe's.
  std::string network() const;
};

/// Nothing if --help or --version was asked for and printed. Throws UsageError, in one line, on options that
/// cannot be used, DeviceError on a device that is not there.
std::optional<RunOptions> parse_train_options(int argc, char** argv);

/// For programs with more options: adds those that every run has; `--help` knows their defaults from
/// `options`.
void add_run_options(CLI::App& app, RunOptions& options);
/// Sets defaults that depend on other options. Throws UsageError on options that cannot be used.
void complete(RunOptions& options);
/// Throws UsageError unless the network can be built.
void check_network(const RunOptions& options);
/// Throws UsageError if the directory's name leaves no room for those of a run's files in it.
void check_length(const std::filesystem::path& out);
/// "bn, gn, ...", for --help.
std::string list_of_norms();
std::string_view name_of(Engine engine);
/// "subgradient", "proximal"; throws Error on anything else, naming these and `also`.
optim::L1Mode parse_l1_mode(std::string_view text, std::string_view also = "");

/// The options that the result depends on. The device is one of them: its kernels add in another order.
nlohmann::json recipe(const RunOptions& options);
/// Eight hexadecimal digits of the SHA-256 of the recipe.
std::string recipe_hash(const RunOptions& options);
/// config.json: the recipe, the other options, and what the program was built with and runs on.
nlohmann::json config(const RunOptions& options);

}  // namespace evenkeel::app
