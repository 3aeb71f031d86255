#include "options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "command_line.h"
#include "program.h"

namespace evenkeel::app {
namespace {

using models::Norm;

template <typename T>
void require(bool good, const char* option, T value, std::string_view wanted) {
  if (!good) fail<UsageError>("{} {}: must be {}", option, value, wanted);
}
template <typename T>
void require_positive(const char* option, T value) {
  require(value > 0 && std::isfinite(static_cast<double>(value)), option, value, "above 0");
}
template <typename T>
void require_not_negative(const char* option, T value) {
  require(value >= 0 && std::isfinite(static_cast<double>(value)), option, value, "0 or above");
}

void check(const RunOptions& o) {
  require_not_negative("--epochs", o.epochs);
  require_positive("--batch-size", o.batch_size);
  require_positive("--test-batch-size", o.test_batch_size);
  require_positive("--lr", o.sgd.lr);
  require(o.sgd.momentum >= 0 && o.sgd.momentum < 1, "--momentum", o.sgd.momentum, "at least 0 and below 1");
  require(!o.sgd.nesterov || o.sgd.momentum > 0, "--momentum", o.sgd.momentum, "above 0 with --nesterov");
  require_not_negative("--weight-decay", o.sgd.weight_decay);
  require_not_negative("--l1", o.sgd.l1);
  require_positive("--step-size", o.step_size);
  require_positive("--gamma", o.gamma);
  require(o.rotate >= 0 && o.rotate <= 180, "--rotate", o.rotate, "from 0 to 180 degrees");
  require(o.threads >= 0 && o.threads <= 1024, "--threads", o.threads, "from 0 (one per core) to 1024");
  require_positive("--log-interval", o.log_interval);
  require_not_negative("--max-steps", o.max_steps);
}

/// "[bn,gn,...]", for --help.
std::string list_of_norms() { return fmt::format("{}", fmt::join(models::norm_names(), ", ")); }

/// Builds the network once to learn whether it can be built.
void check_network(const RunOptions& o) {
  try {
    models::mnist_net(o.norm, o.groups);
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
}

std::string_view name_of(optim::L1Mode mode) {
  return mode == optim::L1Mode::proximal ? "proximal" : "subgradient";
}

optim::L1Mode parse_l1_mode(std::string_view text) {
  for (const auto mode : {optim::L1Mode::subgradient, optim::L1Mode::proximal}) {
    if (text == name_of(mode)) return mode;
  }
  fail("unknown mode '{}': use subgradient or proximal", text);
}

std::uint64_t parse_seed(const std::string& text) {
  std::uint64_t seed = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, seed);
  EK_CHECK(result.ec == std::errc() && result.ptr == end, "'{}' is no integer from 0 to 2^64 - 1", text);
  return seed;
}

/// Reads "bn,gn".
std::vector<Norm> parse_norms(const std::string& text) {
  std::vector<Norm> norms;
  std::istringstream names(text);
  for (std::string name; std::getline(names, name, ',');) {
    const Norm norm = models::parse_norm(name);
    EK_CHECK(std::count(norms.begin(), norms.end(), norm) == 0, "{} is named twice", name);
    norms.push_back(norm);
  }
  EK_CHECK(!norms.empty(), "name at least one");
  return norms;
}

/// Options that both programs have.
void add_run_options(CLI::App& app, RunOptions& o) {
  app.add_option("--data", o.data, "Directory of MNIST's four files, plain or .gz")->envname("EVENKEEL_DATA");
  app.add_option("--groups", o.groups, "Groups of group norm");
  app.add_option("--epochs", o.epochs, "Passes over the training images");
  app.add_option("--batch-size", o.batch_size, "Images a training step");
  app.add_option("--test-batch-size", o.test_batch_size, "Images a step of evaluation");
  app.add_option("--lr", o.sgd.lr, "Learning rate");
  app.add_option("--momentum", o.sgd.momentum, "Momentum of SGD");
  app.add_flag("--nesterov", o.sgd.nesterov, "Nesterov momentum");
  app.add_option("--weight-decay", o.sgd.weight_decay, "L2 penalty");
  app.add_option("--l1", o.sgd.l1, "L1 penalty: adds this times sum |p| to the loss");
  add_parsed(
      app, "--l1-mode", [&o](const std::string& text) { o.sgd.l1_mode = parse_l1_mode(text); },
      "subgradient, or proximal, which reaches exact zeros", "subgradient");
  app.add_option("--step-size", o.step_size, "Epochs between drops of the learning rate");
  app.add_option("--gamma", o.gamma, "Factor of each drop");
  app.add_option("--rotate", o.rotate, "Training images are turned by up to this many degrees either way");
  add_parsed(
      app, "--seed", [&o](const std::string& text) { o.seed = parse_seed(text); },
      "Seed of all random numbers", "1");
  add_parsed(
      app, "--device", [&o](const std::string& text) { o.device = Device::parse(text); },
      "auto, cpu, cuda or cuda:N", "auto")
      ->envname("EVENKEEL_DEVICE");
  app.add_option("--threads", o.threads, "CPU threads; 0: OMP_NUM_THREADS, or one per core");
  app.add_option("--log-interval", o.log_interval, "Steps between reports of the loss");
  app.add_option("--max-steps", o.max_steps, "End each epoch after this many steps; 0: all");
  app.add_flag("--save-logits", o.save_logits, "Write the outputs for the test images to logits.safetensors");
  app.add_flag("--quiet", o.quiet, "No progress within epochs");
}

}  // namespace

std::string RunOptions::network() const {
  return fmt::format("{}{}", models::name_of(norm), sgd.l1 > 0 ? "-l1" : "");
}

std::vector<RunOptions> StudyOptions::runs() const {
  std::vector<RunOptions> all;
  for (const Norm norm : norms) {
    for (int i = 0; i < seeds; ++i) {
      RunOptions one = run;
      one.norm = norm;
      if (norm != Norm::bn) one.sgd.l1 = 0;
      one.seed += static_cast<std::uint64_t>(i);
      one.out /= fmt::format("{}-seed{}", one.network(), one.seed);
      all.push_back(one);
    }
  }
  return all;
}

std::optional<RunOptions> parse_train_options(int argc, char** argv) {
  RunOptions o;
  o.device = Device::best();
  CLI::App app("Trains the network of the study on MNIST with one normalization.", "train_mnist");
  set_conventions(app);
  app.footer("Example: train_mnist --norm bn --l1 1e-5 --out runs/bn-l1");
  add_parsed(
      app, "--norm", [&o](const std::string& text) { o.norm = models::parse_norm(text); },
      "Normalization: " + list_of_norms(), "bn");
  add_run_options(app, o);
  app.add_option("--out", o.out, "Directory of the results; default: runs/<norm>[-l1]-seed<seed>");
  app.add_flag("--resume", o.resume, "Continue the unfinished run in --out; it must have the same options");
  app.add_option("--weights", o.weights, "Start from this .safetensors file; --epochs 0 then only evaluates");
  if (!parse(app, argc, argv)) return std::nullopt;
  check(o);
  check_network(o);
  o.device.require_available();
  if (o.out.empty()) o.out = std::filesystem::path("runs") / fmt::format("{}-seed{}", o.network(), o.seed);
  return o;
}

std::optional<StudyOptions> parse_study_options(int argc, char** argv) {
  StudyOptions study;
  RunOptions& o = study.run;
  o.sgd.l1 = 1e-5;
  o.resume = true;
  o.device = Device::best();
  CLI::App app("Trains the network of the study with several normalizations and compares them.",
               "compare_norms");
  set_conventions(app);
  app.footer(
      "Example: compare_norms --norms bn,gn,ln,ln-row --seeds 3\n"
      "A run that is finished already is not repeated, one that was stopped is continued.");
  add_parsed(
      app, "--norms", [&study](const std::string& text) { study.norms = parse_norms(text); },
      "Normalizations: some of " + list_of_norms(), "bn,gn,ln,ln-row");
  app.add_option("--seeds", study.seeds, "Runs of each, with seeds SEED, SEED+1, ...");
  add_run_options(app, o);
  app.add_flag("--resume", o.resume, "Taken for granted: unfinished runs are continued");
  app.get_option("--l1")->description("L1 penalty, on bn only: adds this times sum |p| to the loss");
  app.add_option("--out", o.out, "Directory of the results; default: runs/study-<epochs>ep");
  if (!parse(app, argc, argv)) return std::nullopt;
  check(o);
  require_positive("--epochs", o.epochs);
  require_positive("--seeds", study.seeds);
  for (const RunOptions& run : study.runs()) check_network(run);
  o.device.require_available();
  if (o.out.empty()) o.out = std::filesystem::path("runs") / fmt::format("study-{}ep", o.epochs);
  return study;
}

nlohmann::json recipe(const RunOptions& o) {
  nlohmann::json r = {{"norm", models::name_of(o.norm)},
                      {"epochs", o.epochs},
                      {"batch_size", o.batch_size},
                      {"lr", o.sgd.lr},
                      {"momentum", o.sgd.momentum},
                      {"nesterov", o.sgd.nesterov},
                      {"weight_decay", o.sgd.weight_decay},
                      {"l1", o.sgd.l1},
                      {"step_size", o.step_size},
                      {"gamma", o.gamma},
                      {"rotate", o.rotate},
                      {"seed", o.seed},
                      {"max_steps", o.max_steps},
                      {"weights", o.weights.string()},
                      {"device", o.device.str()}};
  if (o.norm == Norm::gn) r["groups"] = o.groups;
  if (o.sgd.l1 > 0) r["l1_mode"] = name_of(o.sgd.l1_mode);
  return r;
}

nlohmann::json config(const RunOptions& o) {
  return {{"evenkeel", EVENKEEL_VERSION},
          {"compiler", EVENKEEL_COMPILER},
          {"build", EVENKEEL_BUILD},
          {"device", o.device.str()},
          {"threads", num_threads()},
          {"recipe", recipe(o)},
          {"options",
           {{"data", o.data.string()},
            {"test_batch_size", o.test_batch_size},
            {"log_interval", o.log_interval},
            {"save_logits", o.save_logits},
            {"out", o.out.string()}}}};
}

}  // namespace evenkeel::app
