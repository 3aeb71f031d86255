#include "study_options.h"

#include <algorithm>
#include <limits>
#include <set>

#include "command_line.h"
#include "one_kernel_engine.h"
#include "program.h"
#include "text.h"

namespace evenkeel::app {
namespace {

using mnist::Norm;

std::int64_t parse_batch_size(const std::string& text) {
  return parse_number<std::int64_t>(text, 1, kMostCount);
}

Penalty parse_penalty(std::string_view text) {
  return text == "off"                                             ? Penalty::off
         : parse_l1_mode(text, "off, ") == optim::L1Mode::proximal ? Penalty::proximal
                                                                   : Penalty::subgradient;
}

constexpr int kMostSeeds = 10'000;

/// True if there are several runs, and the device can train all of them inside one kernel.
bool trains_together(const StudyOptions& study) {
  if (!study.run.device.is_cuda() || study.runs().size() < 2) return false;
  study.run.device.require_available();
  const std::vector<RunOptions> runs = study.runs();
  return std::all_of(runs.begin(), runs.end(), [](const RunOptions& run) {
    check_network(run);
    nn::Sequential net = mnist::network(run.norm, run.groups);
    net.to(run.device);
    return OneKernelEngine::why_not(net).empty();
  });
}

}  // namespace

std::string_view name_of(Penalty penalty) {
  return penalty == Penalty::off ? "off" : penalty == Penalty::proximal ? "proximal" : "subgradient";
}

Penalty penalty_of(const RunOptions& network) {
  if (network.sgd.l1 == 0) return Penalty::off;
  return network.sgd.l1_mode == optim::L1Mode::proximal ? Penalty::proximal : Penalty::subgradient;
}

bool is_l1_batch_norm(const RunOptions& network) {
  return network.norm == Norm::bn && penalty_of(network) == Penalty::subgradient;
}

std::vector<RunOptions> StudyOptions::networks() const {
  std::vector<RunOptions> all;
  for (const Norm norm : norms) {
    const Penalty of_recipe = norm == Norm::bn ? Penalty::subgradient : Penalty::off;
    for (const Penalty penalty : penalties.empty() ? std::vector{of_recipe} : penalties) {
      if (penalty != Penalty::off && !mnist::can_learn(norm)) continue;
      RunOptions one = run;
      one.norm = norm;
      if (penalty == Penalty::off) one.sgd.l1 = 0;
      if (!penalties.empty() && penalty != Penalty::off) {
        one.sgd.l1_mode = penalty == Penalty::proximal ? optim::L1Mode::proximal : optim::L1Mode::subgradient;
      }
      all.push_back(one);
    }
  }
  return all;
}

std::vector<RunOptions> StudyOptions::batch_networks() const {
  std::vector<RunOptions> all;
  for (const std::int64_t size : batch_sizes) {
    for (const Norm norm : batch_norms) {
      RunOptions one = run;
      one.norm = norm;
      one.sgd.l1 = 0;
      one.sgd.lr = run.sgd.lr * static_cast<double>(size) / static_cast<double>(run.batch_size);
      one.batch_size = size;
      one.epochs = batch_epochs;
      one.step_size = 1;
      all.push_back(one);
    }
  }
  return all;
}

RunOptions StudyOptions::run_of(const RunOptions& network, int i) const {
  RunOptions one = network;
  one.seed += static_cast<std::uint64_t>(i);
  one.out /= fmt::format("{}-seed{}-{}", one.network(), one.seed, recipe_hash(one));
  return one;
}

std::vector<RunOptions> StudyOptions::runs() const {
  std::vector<RunOptions> all;
  std::set<std::filesystem::path> places;  // a batch size may make a network that is there already
  for (int i = 0; i < seeds; ++i) {
    for (const auto& part : {networks(), batch_networks()}) {
      for (const RunOptions& network : part) {
        RunOptions one = run_of(network, i);
        if (places.insert(one.out).second) all.push_back(std::move(one));
      }
    }
  }
  return all;
}

std::optional<StudyOptions> parse_study_options(int argc, char** argv) {
  StudyOptions study;
  std::vector<std::string> command;
  for (int i = 0; i < argc; ++i) command.push_back(shell_quoted(argv[i]));
  study.command = fmt::format("{}", fmt::join(command, " "));
  RunOptions& o = study.run;
  o.sgd.l1 = kL1;
  o.resume = o.may_start = true;
  o.device = Device::best();
  CLI::App app("Trains the network of the study with several normalizations and compares them.",
               "compare_norms");
  set_conventions(app);
  app.footer(
      "Example: compare_norms --norms bn,gn,ln,ln-row --seeds 3\n"
      "A run that is finished already is not repeated, one that was stopped is continued.");
  add_parsed(
      app, "--norms",
      [&study](const std::string& text) { study.norms = parse_list(text, mnist::parse_norm); },
      "Normalizations: some of " + list_of_norms(), "bn,gn,ln,ln-row");
  add_parsed(
      app, "--penalties",
      [&study](const std::string& text) { study.penalties = parse_list(text, parse_penalty); },
      "Train every normalization that can learn with each of these L1 penalties: some of off, subgradient, "
      "proximal",
      "subgradient for bn, off for the others");
  add_parsed(
      app, "--batch-sizes",
      [&study](const std::string& text) { study.batch_sizes = parse_list(text, parse_batch_size); },
      "Also compare at these batch sizes, with the learning rate in proportion and no L1", "none");
  add_parsed(
      app, "--batch-norms",
      [&study](const std::string& text) { study.batch_norms = parse_list(text, mnist::parse_norm); },
      "Normalizations to train at each of --batch-sizes", "bn,gn,ln")
      ->needs("--batch-sizes");
  add_number<int>(app, "--batch-epochs", study.batch_epochs, 1, kMostCount,
                  "Epochs to train at each of --batch-sizes; the learning rate drops after each epoch")
      ->needs("--batch-sizes");
  add_number<int>(app, "--seeds", study.seeds, 1, kMostSeeds,
                  "Runs per network, with seeds SEED, SEED+1, ...");
  add_number<int>(app, "--jobs", study.jobs, 1, kMostCount,
                  "Runs to train side by side on the CPU, which share its threads: the same results, sooner")
      ->default_str("as many as there are threads, on a CUDA device 1");
  add_run_options(app, o);
  add_switch(app, "--resume", o.resume, "No effect: unfinished runs are always continued");
  app.get_option("--l1")->description("Strength of the L1 penalty, where there is one");
  app.remove_option(app.get_option("--l1-mode"));
  add_path(app, "--out", o.out, "Directory of the results; default: runs/<dataset>-<epochs>ep");
  app.get_option("--engine")
      ->default_str("sm for several runs on a CUDA device that supports it, else layers");
  if (!parse(app, argc, argv)) return std::nullopt;
  if (app.count("--engine") == 0 && trains_together(study)) o.engine = Engine::sm;
  complete(o);
  require_positive("--epochs", o.epochs);
  const std::uint64_t last_seed = std::numeric_limits<std::uint64_t>::max() - (study.seeds - 1);
  require(o.seed <= last_seed, "--seed", o.seed,
          fmt::format("at most {} with --seeds {}", last_seed, study.seeds));
  if (!study.penalties.empty() && study.penalties != std::vector{Penalty::off})
    require_positive("--l1", o.sgd.l1);
  for (const auto& networks : {study.networks(), study.batch_networks()}) {
    for (const RunOptions& network : networks) {
      check_network(network);
      require_positive("--lr", network.sgd.lr);  // in proportion to the batch size
    }
  }
  o.device.require_available();
  if (app.count("--jobs") == 0 && o.device.is_cpu()) study.jobs = o.threads > 0 ? o.threads : num_threads();
  require(o.device.is_cpu() || study.jobs == 1, "--jobs", study.jobs, "1 on a CUDA device");
  if (o.out.empty()) o.out = std::filesystem::path("runs") / fmt::format("{}-{}ep", o.dataset, o.epochs);
  for (const RunOptions& one : study.runs()) check_length(one.out);
  return study;
}

}  // namespace evenkeel::app
