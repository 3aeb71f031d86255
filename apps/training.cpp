#include "training.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>

#include "console.h"
#include "evenkeel/core/cuda.h"
#include "evenkeel/core/profile.h"
#include "evenkeel/nn/fusion.h"
#include "evenkeel/nn/safetensors.h"
#include "metrics.h"
#include "program.h"
#include "resume.h"
#include "run.h"
#include "run_directory.h"
#include "training_engine.h"

namespace evenkeel::app {
namespace {

/// What to do about a loss that is not finite: change an option that can be the cause.
std::string advice_for_loss(const RunOptions& o) {
  if (o.epochs == 0) return "give other --weights";
  std::vector<std::string> advice = {fmt::format("a lower --lr than {}", o.sgd.lr)};
  if (o.gamma > 1) advice.push_back(fmt::format("a lower --gamma than {}", o.gamma));
  if (o.sgd.weight_decay > 0)
    advice.push_back(fmt::format("a lower --weight-decay than {}", o.sgd.weight_decay));
  if (o.sgd.l1 > 0) advice.push_back(fmt::format("a lower --l1 than {}", o.sgd.l1));
  if (!o.weights.empty()) advice.emplace_back("other --weights");
  return fmt::format("try {}", fmt::join(advice, " or "));
}

void require_finite(double loss, const std::string& where, const RunOptions& o) {
  if (!std::isfinite(loss)) {
    fail<NonFiniteError>("the loss of {} is {} {}: {}", o.network(), loss, where, advice_for_loss(o));
  }
}

std::string accuracy_text(std::int64_t correct, std::int64_t images) {
  return fmt::format("Accuracy: {}/{} ({:.2f}%)", correct, images,
                     100.0 * static_cast<double>(correct) / static_cast<double>(images));
}

/// The checkpoint as it was before the last epoch was evaluated.
Checkpoint last_checkpoint(const Run& run) {
  Checkpoint last = run.checkpoint();
  std::erase_if(last.rows, [&](const Metrics& row) { return row.epoch == last.epoch; });
  return last;
}

void save(const Run& run) {
  run.directory->with_file(kCheckpointFile,
                           [&](const auto& file) { save_checkpoint(file, run.checkpoint()); });
}

/// Runs that are trained together: at the same step, of networks of one kind.
using Runs = std::vector<std::unique_ptr<Run>>;

/// The steps of an epoch of `images` training images.
std::int64_t steps_of_epoch(const RunOptions& o, std::int64_t images) {
  const std::int64_t all = (images - 1) / o.batch_size + 1;
  return o.max_steps > 0 ? std::min(o.max_steps, all) : all;
}

/// Waits until the device has done what was enqueued.
void wait_for([[maybe_unused]] Device device) {
  if constexpr (kCudaEnabled) synchronize(device);
}

/// The steps of the epoch that are not done yet. Their losses are looked at every --log-interval steps;
/// where steps run ahead, with --quiet they are only waited for then, so that a signal finds few in flight.
void train_epoch(const Runs& runs, TrainingEngine& engine, std::int64_t images) {
  Run& first = *runs.front();
  const RunOptions& o = first.options;
  for (const auto& run : runs) run->batches.begin_epoch(static_cast<std::uint64_t>(first.epoch));
  first.steps = steps_of_epoch(o, images);
  const Stopwatch clock;
  const double seconds_before = first.seconds;
  EpochProgress progress({first.epoch, o.epochs, first.step, first.steps, images, o.batch_size}, o.quiet);
  while (first.step < first.steps) {
    const std::int64_t next_due = (first.step + o.log_interval - 1) / o.log_interval * o.log_interval;
    first.step = engine.train(first.step, std::min(next_due + 1, first.steps));
    const std::int64_t step = first.step - 1;
    const std::string where =
        fmt::format("in epoch {}, after step {} of {}", first.epoch, first.step, first.steps);
    const bool due = step % o.log_interval == 0, report = due && !(engine.runs_ahead() && o.quiet);
    if (due && !report) wait_for(o.device);
    for (const auto& run : runs) {
      if (report || first.step == first.steps) require_finite(run->totals.mean_loss(), where, run->options);
    }
    if (report) progress.loss(step, engine.loss());
    progress.step(first.step);
    first.seconds = seconds_before + clock.seconds();
    for (const auto& run : runs) {
      run->step = first.step;
      run->steps = first.steps;
      run->seconds = first.seconds;
    }
    stop_if_signalled(where);
  }
}

void print_profile(const Profile& profile, const Run& run) {
  const std::vector<OpTime> times = profile.times();
  double all = 0;
  for (const OpTime& time : times) all += time.seconds;
  print_line(fmt::format("Profile of epoch {}: {:.4g} s in ops, of {:.4g} s", run.epoch, all, run.seconds));
  print_line(fmt::format("{:<30}{:>10}{:>14}{:>10}", "op", "calls", "ms", "share"));
  for (const OpTime& time : times) {
    print_line(fmt::format("{:<30}{:>10}{:>14.3f}{:>9.1f}%", time.op, time.count, 1e3 * time.seconds,
                           all > 0 ? 100 * time.seconds / all : 0));
  }
}

/// The row of an epoch whose steps are all done.
Metrics train_metrics(const Run& run) {
  const auto images = static_cast<double>(run.totals.images());
  print_line(fmt::format("Train set: Average loss: {:.4f}, {}, {:.1f} s, {:.0f} images/s",
                         run.totals.mean_loss(), accuracy_text(run.totals.correct(), run.totals.images()),
                         run.seconds, images / run.seconds));
  return {.epoch = run.epoch,
          .split = "train",
          .loss = run.totals.mean_loss(),
          .accuracy = static_cast<double>(run.totals.correct()) / images,
          .lr = run.sgd.lr(),
          .seconds = run.seconds,
          .images_per_s = images / run.seconds};
}

Evaluation test_epoch(nn::Module& net, const data::Dataset& dataset, const RunOptions& o, int epoch) {
  Evaluation e = evaluate(net, dataset, o.test_batch_size, o.device);
  require_finite(e.loss, fmt::format("on the test set after epoch {}", epoch), o);
  print_line(
      fmt::format("Test set: Average loss: {:.4f}, {}", e.loss, accuracy_text(e.correct(), e.images())));
  return e;
}

/// Fills in what is said of the parameters.
void describe_parameters(const nn::Module& net, Metrics& metrics) {
  double count = 0, zero = 0;
  metrics.l1 = 0;
  for (const Tensor& p : net.parameters()) {
    for (const float value : p.to_vector<float>()) {
      metrics.l1 += std::abs(static_cast<double>(value));
      zero += value == 0;
      ++count;
    }
  }
  metrics.sparsity = zero / count;
}

/// The files that describe the final weights.
void write_results(const Run& run, const Evaluation& test, const data::Dataset& dataset) {
  const RunOptions& o = run.options;
  RunDirectory& directory = *run.directory;
  std::map<std::string, std::string> metadata = {{"network", "mnist_net"},
                                                 {"norm", std::string(mnist::name_of(o.norm))}};
  if (o.norm == mnist::Norm::gn) metadata["groups"] = std::to_string(o.groups);
  directory.begin_results();
  directory.write_figures(run.rows, Sync::yes);
  const auto write = [&](std::string_view name, const NamedTensors& tensors) {
    directory.with_file(name, [&](const auto& file) { save_safetensors(file, tensors, metadata); });
  };
  write("model.safetensors", run.net.state_dict());
  if (o.save_logits) write("logits.safetensors", {{"logits", test.log_probs}});
  directory.write("predictions.csv", predictions_csv(predictions(test)));
  directory.write("confusion.csv", confusion_csv(test));
  const std::string title = fmt::format("{}, seed {}, {} epochs: {} of {} misclassified", o.network(), o.seed,
                                        o.epochs, test.misclassified().size(), test.images());
  directory.write("misclassified.png", misclassified_png(test, dataset, title));
  directory.finish(last_checkpoint(run));
}

/// Evaluates after an epoch, or before the first, and writes the figures of both. The checkpoint of an epoch
/// is saved before its evaluation, and holds the rows of the epochs before: wherever a run is killed, the one
/// that continues it makes the rows of this epoch again, so that none is lost or doubled.
Evaluation end_epoch(Run& run, const data::Dataset& test_images) {
  const RunOptions& o = run.options;
  std::vector<Metrics> of_epoch;
  if (run.epoch > 0) {
    save(run);
    of_epoch.push_back(train_metrics(run));
  }
  Evaluation test = test_epoch(run.net, test_images, o, run.epoch);
  of_epoch.push_back({.epoch = run.epoch,
                      .split = "test",
                      .loss = test.loss,
                      .accuracy = test.accuracy(),
                      .lr = run.sgd.lr(),
                      .seconds = test.seconds,
                      .images_per_s = static_cast<double>(test.images()) / test.seconds});
  for (Metrics& row : of_epoch) {
    describe_parameters(run.net, row);
    run.rows.push_back(row);
  }
  run.directory->write_figures(run.rows);
  return test;
}

/// From where the runs stand to the end; without training, epoch 0 is evaluated. Returns the last
/// evaluations.
std::vector<Evaluation> train_epochs(const Runs& runs, const Mnist& mnist) {
  const RunOptions& o = runs.front()->options;
  const Run& first = *runs.front();
  std::vector<Run*> all;
  for (const auto& run : runs) {
    if (o.epochs == 0) run->epoch = 0;
    all.push_back(run.get());
  }
  const std::unique_ptr<TrainingEngine> engine = make_engine(all);
  while (true) {
    if (first.epoch > 0) {
      std::optional<Profile> profile;
      if (o.profile) profile.emplace();
      train_epoch(runs, *engine, mnist.train.size());
      if (profile) print_profile(*profile, first);
    }
    std::vector<Evaluation> tests;
    for (const auto& run : runs) {
      if (runs.size() > 1) print_line(run->name() + ":");
      tests.push_back(end_epoch(*run, mnist.test));
    }
    if (first.epoch == o.epochs) return tests;
    for (const auto& run : runs) {
      run->schedule.step();
      run->begin_next_epoch();
    }
  }
}

/// `mnist` lies on the run's device.
std::unique_ptr<Run> begin_run(const RunOptions& o, const Mnist& mnist,
                               std::unique_ptr<RunDirectory> directory) {
  const std::optional<Checkpoint> checkpoint = checkpoint_for(o);
  auto run = std::make_unique<Run>(o, mnist.train, checkpoint);
  run->directory = std::move(directory);
  run->directory->begin(config(o), checkpoint.has_value());
  if (const std::int64_t steps = steps_of_epoch(o, mnist.train.size());
      checkpoint && checkpoint->steps != steps) {
    fail<DataError>("{} does not fit this run (its epochs have {} steps, not {}): {}",
                    (o.out / kCheckpointFile).string(), checkpoint->steps, steps, kCheckpointAdvice);
  }
  std::int64_t parameters = 0;
  for (const Tensor& p : run->net.parameters()) parameters += p.numel();
  print_line(fmt::format(
      "Network {}: {} parameters; device {}, {} CPU threads; {} training and {} test images", o.network(),
      parameters, o.device.str(), num_threads(), mnist.train.size(), mnist.test.size()));
  if (o.summary) {
    const Tensor x =
        zeros({o.batch_size, 1, mnist::kNetwork[0].size, mnist::kNetwork[0].size}, {DType::f32, o.device});
    print_line(nn::summary(run->net, x));
  }
  if (checkpoint) print_line(fmt::format("Continuing {} {}", o.out.string(), checkpoint->where()));
  return run;
}

/// Runs that are at the same step, to the end.
std::vector<Evaluation> finish_runs(const Runs& runs, const Mnist& mnist, const Mnist& on_device) {
  try {
    std::vector<Evaluation> tests = train_epochs(runs, on_device);
    for (std::size_t i = 0; i < runs.size(); ++i) write_results(*runs[i], tests[i], mnist.test);
    return tests;
  } catch (const NonFiniteError&) {
    for (const auto& run : runs) {  // one that only leads here again
      if (runs.size() == 1 || !std::isfinite(run->totals.mean_loss())) run->directory->remove_checkpoint();
    }
    throw;
  } catch (const Interrupted& e) {  // between two steps, or in an evaluation, which is repeated
    const RunOptions& o = runs.front()->options;
    if (o.epochs == 0) throw;
    for (const auto& run : runs) save(*run);
    throw Interrupted(e.signal, e.where,
                      fmt::format("saved in {}: continue with the same command{}",
                                  runs.size() > 1 ? o.out.parent_path().string() : o.out.string(),
                                  o.resume ? "" : " and --resume"));
  }
}

}  // namespace

Mnist load_data(const RunOptions& o) {
  const auto read = o.dataset == "fashion" ? data::fashion_mnist : data::mnist;
  Mnist mnist{read(o.data, data::Split::train), read(o.data, data::Split::test)};
  if (o.test_images > 0) mnist.test = mnist.test.first(o.test_images);
  stop_if_signalled("after the data was read");
  return mnist;
}

Evaluation train_run(const RunOptions& o, const Mnist& mnist, std::unique_ptr<RunDirectory> directory) {
  if (directory == nullptr) directory = std::make_unique<RunDirectory>(o.out);
  const Mnist on_device{mnist.train.to(o.device), mnist.test.to(o.device)};
  Runs runs;
  runs.push_back(begin_run(o, on_device, std::move(directory)));
  return finish_runs(runs, mnist, on_device).front();
}

void train_together(const std::vector<RunOptions>& options, const Mnist& mnist) {
  const Device device = options.front().device;
  const Mnist on_device{mnist.train.to(device), mnist.test.to(device)};
  std::map<std::pair<int, std::int64_t>, Runs> at_step;  // by epoch and step
  for (const RunOptions& o : options) {
    std::unique_ptr<Run> run = begin_run(o, on_device, std::make_unique<RunDirectory>(o.out));
    at_step[{run->epoch, run->step}].push_back(std::move(run));
  }
  for (const auto& [step, runs] : at_step) finish_runs(runs, mnist, on_device);
}

}  // namespace evenkeel::app
