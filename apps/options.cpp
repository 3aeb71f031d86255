#include "options.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "command_line.h"
#include "program.h"

namespace evenkeel::app {
namespace {

using models::Norm;

std::string_view name_of(optim::L1Mode mode) {
  return mode == optim::L1Mode::proximal ? "proximal" : "subgradient";
}

Engine parse_engine(const std::string& text) {
  for (const Engine engine : {Engine::layers, Engine::grid, Engine::sm}) {
    if (text == name_of(engine)) return engine;
  }
  fail("unknown engine '{}': use layers, grid or sm", text);
}

std::uint64_t parse_seed(const std::string& text) {
  std::uint64_t seed = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, seed);
  EK_CHECK(result.ec == std::errc() && result.ptr == end, "'{}' is no integer from 0 to 2^64 - 1", text);
  return seed;
}

}  // namespace

std::string_view name_of(Engine engine) {
  return engine == Engine::grid ? "grid" : engine == Engine::sm ? "sm" : "layers";
}

void complete(RunOptions& o) {
  if (o.data.empty()) o.data = std::filesystem::path("data") / o.dataset;
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
  if (o.profile) o.graph = false;
  if (o.engine != Engine::layers && !o.device.is_cuda()) {
    fail<UsageError>("--engine {}: runs on CUDA devices only, not on {}; use --engine layers",
                     name_of(o.engine), o.device.str());
  }
}

std::string list_of_norms() { return fmt::format("{}", fmt::join(models::norm_names(), ", ")); }

void check_network(const RunOptions& o) {
  try {
    models::mnist_net(o.norm, o.groups);
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
}

optim::L1Mode parse_l1_mode(std::string_view text, std::string_view also) {
  for (const auto mode : {optim::L1Mode::subgradient, optim::L1Mode::proximal}) {
    if (text == name_of(mode)) return mode;
  }
  fail("unknown mode '{}': use {}subgradient or proximal", text, also);
}

void add_run_options(CLI::App& app, RunOptions& o) {
  app.add_option("--dataset", o.dataset, "mnist or fashion")->check(CLI::IsMember({"mnist", "fashion"}));
  app.add_option("--data", o.data, "Directory of its four files, plain or .gz; default: data/<dataset>")
      ->envname("EVENKEEL_DATA");
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
  add_parsed(
      app, "--engine", [&o](const std::string& text) { o.engine = parse_engine(text); },
      "On a CUDA device: layers, a kernel an op or chain; grid, all steps in one kernel on the whole GPU; "
      "sm, on one "
      "multiprocessor",
      "layers");
  app.add_flag_callback(
      "--no-graph", [&o] { o.graph = false; },
      "On a CUDA device, enqueue every op of a step, not the whole step as a CUDA graph; same results");
  app.add_flag("--quiet", o.quiet, "No progress within epochs");
}

std::string RunOptions::network() const {
  std::string name(models::name_of(norm));
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
      app, "--norm", [&o](const std::string& text) { o.norm = models::parse_norm(text); },
      "Normalization: " + list_of_norms(), "bn");
  add_run_options(app, o);
  app.add_option("--out", o.out, "Directory of the results; default: runs/<norm>[-l1]-seed<seed>");
  app.add_flag("--resume", o.resume, "Continue the unfinished run in --out; it must have the same options");
  app.add_flag("--profile", o.profile, "After each epoch, print the time of each op; implies --no-graph");
  app.add_option("--weights", o.weights, "Start from this .safetensors file; --epochs 0 then only evaluates");
  if (!parse(app, argc, argv)) return std::nullopt;
  complete(o);
  check_network(o);
  o.device.require_available();
  if (o.out.empty()) o.out = std::filesystem::path("runs") / fmt::format("{}-seed{}", o.network(), o.seed);
  return o;
}

nlohmann::json recipe(const RunOptions& o) {
  nlohmann::json r = {{"dataset", o.dataset},
                      {"norm", models::name_of(o.norm)},
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
  if (o.engine != Engine::layers) r["engine"] = "one kernel";  // both of them give the same bits
  if (o.sgd.l1 > 0) r["l1_mode"] = name_of(o.sgd.l1_mode);
  return r;
}

std::string recipe_hash(const RunOptions& o) {
  const std::string text = recipe(o).dump();
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  EK_CHECK(EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha256(), nullptr) == 1,
           "OpenSSL cannot compute a SHA-256");
  return fmt::format("{:02x}", fmt::join(digest.begin(), digest.begin() + 4, ""));
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
