#include "options.h"

#include <algorithm>
#include <climits>
#include <limits>

#include "command_line.h"
#include "evenkeel/core/sha256.h"
#include "program.h"
#include "text.h"

namespace evenkeel::app {
namespace {

using mnist::Norm;

std::string_view name_of(optim::L1Mode mode) {
  return mode == optim::L1Mode::proximal ? "proximal" : "subgradient";
}

Engine parse_engine(const std::string& text) {
  for (const Engine engine : {Engine::layers, Engine::grid, Engine::sm}) {
    if (text == name_of(engine)) return engine;
  }
  fail("unknown engine '{}': use layers, grid or sm", text);
}

}  // namespace

std::string_view name_of(Engine engine) {
  return engine == Engine::grid ? "grid" : engine == Engine::sm ? "sm" : "layers";
}

void complete(RunOptions& o) {
  if (o.data.empty()) o.data = std::filesystem::path("data") / o.dataset;
  require_positive("--lr", o.sgd.lr);
  require(o.sgd.momentum >= 0 && o.sgd.momentum < 1, "--momentum", o.sgd.momentum, "at least 0 and below 1");
  require(!o.sgd.nesterov || o.sgd.momentum > 0, "--momentum", o.sgd.momentum, "above 0 with --nesterov");
  require_not_negative("--weight-decay", o.sgd.weight_decay);
  require_not_negative("--l1", o.sgd.l1);
  require_positive("--gamma", o.gamma);
  require(o.rotate >= 0 && o.rotate <= 180, "--rotate", o.rotate, "from 0 to 180 degrees");
  if (o.profile) o.graph = false;
  if (o.engine != Engine::layers && !o.device.is_cuda()) {
    fail<UsageError>("--engine {}: runs on CUDA devices only, not on {}; use --engine layers",
                     name_of(o.engine), o.device.str());
  }
}

std::string list_of_norms() { return fmt::format("{}", fmt::join(mnist::norm_names(), ", ")); }

void check_network(const RunOptions& o) {
  try {
    mnist::network(o.norm, o.groups);
  } catch (const Error& e) {
    fail<UsageError>("--groups {}: {}", o.groups, e.what());  // whatever else a network has is known to fit
  }
}

void check_length(const std::filesystem::path& out) {
  constexpr std::string_view kLongest =
      "/checkpoint.safetensors.4194304-2147483647.tmp";  // while it is written
  constexpr std::size_t kMost = PATH_MAX - 1 - kLongest.size();
  if (const std::size_t bytes = out.native().size(); bytes > kMost)
    fail<UsageError>("--out: the name of a run's folder has {} bytes, more than {}: choose a shorter one",
                     bytes, kMost);
}

optim::L1Mode parse_l1_mode(std::string_view text, std::string_view also) {
  for (const auto mode : {optim::L1Mode::subgradient, optim::L1Mode::proximal}) {
    if (text == name_of(mode)) return mode;
  }
  fail("unknown mode '{}': use {}subgradient or proximal", text, also);
}

void add_run_options(CLI::App& app, RunOptions& o) {
  app.add_option("--dataset", o.dataset, "mnist or fashion")->check(CLI::IsMember({"mnist", "fashion"}));
  add_path(app, "--data", o.data,
           "Directory with the data set's four files, plain or .gz; default: data/<dataset>")
      ->envname("EVENKEEL_DATA");
  add_number<std::int64_t>(app, "--groups", o.groups, 1, kMostCount, "Groups of group norm");
  add_number<int>(app, "--epochs", o.epochs, 0, kMostCount, "Passes over the training images");
  add_number<std::int64_t>(app, "--batch-size", o.batch_size, 1, kMostCount, "Images per training step");
  add_number<std::int64_t>(app, "--test-batch-size", o.test_batch_size, 1, kMostCount,
                           "Images per evaluation step");
  add_real(app, "--lr", o.sgd.lr, "Learning rate");
  add_real(app, "--momentum", o.sgd.momentum, "Momentum of SGD");
  add_switch(app, "--nesterov", o.sgd.nesterov, "Nesterov momentum");
  add_real(app, "--weight-decay", o.sgd.weight_decay, "L2 penalty");
  add_real(app, "--l1", o.sgd.l1, "L1 penalty: adds this times sum |p| to the loss");
  add_parsed(
      app, "--l1-mode", [&o](const std::string& text) { o.sgd.l1_mode = parse_l1_mode(text); },
      "subgradient, or proximal, which reaches exact zeros", "subgradient")
      ->needs("--l1");
  add_number<int>(app, "--step-size", o.step_size, 1, kMostCount,
                  "Epochs between two drops of the learning rate");
  add_real(app, "--gamma", o.gamma, "Factor that the learning rate is multiplied by at each drop");
  add_real(app, "--rotate", o.rotate,
           "Rotate training images randomly by up to this many degrees either way");
  add_number<std::uint64_t>(app, "--seed", o.seed, 0, std::numeric_limits<std::uint64_t>::max(),
                            "Seed of all random numbers");
  add_parsed(
      app, "--device", [&o](const std::string& text) { o.device = Device::parse(text); },
      "auto, cpu, cuda or cuda:N", "auto")
      ->envname("EVENKEEL_DEVICE");
  add_threads(app, o.threads);
  add_number<std::int64_t>(app, "--log-interval", o.log_interval, 1, kMostSteps,
                           "Steps between reports of the loss");
  add_number<std::int64_t>(app, "--max-steps", o.max_steps, 0, kMostSteps,
                           "End each epoch after this many steps; 0: all");
  add_number<std::int64_t>(app, "--test-images", o.test_images, 0, kTestImages,
                           "Number of test images to evaluate on, from the first one on; 0: all");
  add_switch(app, "--save-logits", o.save_logits,
             "Write the outputs for the test images to logits.safetensors");
  add_parsed(
      app, "--engine", [&o](const std::string& text) { o.engine = parse_engine(text); },
      "How to train on a CUDA device: layers, one kernel per op or fused block; grid, all steps in one "
      "kernel on the whole GPU; sm, all steps in one kernel on one multiprocessor",
      "layers");
  app.add_flag_callback(
         "--no-graph", [&o] { o.graph = false; },
         "On a CUDA device, launch every op of a step separately instead of replaying the step as a CUDA "
         "graph; same results")
      ->disable_flag_override();
  add_switch(app, "--quiet", o.quiet, "Print no progress within epochs");
}

std::string RunOptions::network() const {
  std::string name(mnist::name_of(norm));
  if (sgd.l1 > 0) name += sgd.l1_mode == optim::L1Mode::proximal ? "-l1-proximal" : "-l1";
  if (batch_size != RunOptions().batch_size) name += fmt::format("-b{}", batch_size);
  return name;
}

std::optional<RunOptions> parse_train_options(int argc, char** argv) {
  RunOptions o;
  o.device = Device::best();
  CLI::App app("Trains the network of the study on MNIST with one normalization.", "train_mnist");
  set_conventions(app);
  app.footer("Example: train_mnist --norm bn --l1 1e-5 --out runs/bn-l1");
  add_parsed(
      app, "--norm", [&o](const std::string& text) { o.norm = mnist::parse_norm(text); },
      "Normalization: " + list_of_norms(), "bn");
  add_run_options(app, o);
  add_path(app, "--out", o.out, "Directory of the results; default: runs/<norm>[-l1]-seed<seed>");
  add_switch(app, "--resume", o.resume,
             "Continue the run in --out with the same options: an unfinished run, or a finished one with "
             "more --epochs");
  add_switch(app, "--resume-or-start", o.may_start,
             "Continue the run in --out if there is one, else start it");
  add_switch(app, "--summary", o.summary, "Print which layers of the network are computed together");
  add_switch(app, "--profile", o.profile, "After each epoch, print the time of each op; implies --no-graph");
  add_path(app, "--weights", o.weights, "Start from this .safetensors file; --epochs 0 then only evaluates");
  if (!parse(app, argc, argv)) return std::nullopt;
  if (o.may_start) o.resume = true;
  complete(o);
  check_network(o);
  o.device.require_available();
  if (o.out.empty()) o.out = std::filesystem::path("runs") / fmt::format("{}-seed{}", o.network(), o.seed);
  check_length(o.out);
  return o;
}

nlohmann::json recipe(const RunOptions& o) {
  nlohmann::json r = {{"dataset", o.dataset},
                      {"norm", mnist::name_of(o.norm)},
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
                      {"weights", as_utf8(o.weights.string())},
                      {"device", o.device.str()}};
  if (o.norm == Norm::gn) r["groups"] = o.groups;
  if (!o.weights_sha256.empty()) r["weights_sha256"] = o.weights_sha256;
  if (o.test_images > 0) r["test_images"] = o.test_images;
  if (o.engine != Engine::layers) r["engine"] = "one kernel";  // both of them give the same bits
  if (o.sgd.l1 > 0) r["l1_mode"] = name_of(o.sgd.l1_mode);
  return r;
}

std::string recipe_hash(const RunOptions& o) { return sha256(recipe(o).dump()).substr(0, 8); }

nlohmann::json config(const RunOptions& o) {
  return {{"evenkeel", EVENKEEL_VERSION},
          {"compiler", EVENKEEL_COMPILER},
          {"build", EVENKEEL_BUILD},
          {"device", o.device.str()},
          {"threads", num_threads()},
          {"recipe", recipe(o)},
          {"options",
           {{"data", as_utf8(o.data.string())},
            {"test_batch_size", o.test_batch_size},
            {"log_interval", o.log_interval},
            {"save_logits", o.save_logits},
            {"out", as_utf8(o.out.string())}}}};
}

}  // namespace evenkeel::app
