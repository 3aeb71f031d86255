#include "training.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "console.h"
#include "core/profile.h"
#include "metrics.h"
#include "nn/safetensors.h"
#include "program.h"
#include "resume.h"
#include "run_directory.h"
#include "training_state.h"
#include "training_steps.h"

namespace evenkeel::app {
namespace {

void require_finite(double loss, const std::string& where, const RunOptions& o) {
  if (!std::isfinite(loss)) {
    fail<NonFiniteError>("the loss of {} is {} {}: try a lower --lr than {}", o.network(), loss, where,
                         o.sgd.lr);
  }
}

std::string accuracy_text(std::int64_t correct, std::int64_t images) {
  return fmt::format("Accuracy: {}/{} ({:.2f}%)", correct, images,
                     100.0 * static_cast<double>(correct) / static_cast<double>(images));
}

/// The steps of the epoch that are not done yet. Their losses are looked at every --log-interval steps; with
/// a graph and --quiet they are only waited for then, so that a signal finds few in flight.
void train_epoch(TrainingState& s, TrainingSteps& steps, std::int64_t images, const RunOptions& o) {
  steps.begin_epoch(s.epoch);
  s.steps = o.max_steps > 0 ? std::min(o.max_steps, steps.count()) : steps.count();
  const Stopwatch clock;
  const double seconds_before = s.seconds;
  EpochProgress progress({s.epoch, o.epochs, s.step, s.steps, images, o.batch_size}, o.quiet);
  while (s.step < s.steps) {
    steps.run(s.step);
    const std::int64_t step = s.step++;
    const std::string where = fmt::format("in epoch {}, after step {} of {}", s.epoch, s.step, s.steps);
    const bool due = step % o.log_interval == 0, report = due && !(steps.has_graph() && o.quiet);
    if (due && !report) steps.wait();
    if (report || s.step == s.steps) require_finite(s.totals.mean_loss(), where, o);
    if (report) progress.loss(step, steps.loss());
    progress.step(s.step);
    s.seconds = seconds_before + clock.seconds();
    stop_if_signalled(where);
  }
}

void print_profile(const Profile& profile, const TrainingState& s) {
  const std::vector<OpTime> times = profile.times();
  double all = 0;
  for (const OpTime& time : times) all += time.seconds;
  print_line(fmt::format("Profile of epoch {}: {:.4g} s in ops, of {:.4g} s", s.epoch, all, s.seconds));
  print_line(fmt::format("{:<30}{:>10}{:>14}{:>10}", "op", "calls", "ms", "share"));
  for (const OpTime& time : times) {
    print_line(fmt::format("{:<30}{:>10}{:>14.3f}{:>9.1f}%", time.op, time.count, 1e3 * time.seconds,
                           all > 0 ? 100 * time.seconds / all : 0));
  }
}

/// The row of an epoch whose steps are all done.
Metrics train_metrics(const TrainingState& s) {
  const auto images = static_cast<double>(s.totals.images());
  print_line(fmt::format("Train set: Average loss: {:.4f}, {}, {:.1f} s, {:.0f} images/s",
                         s.totals.mean_loss(), accuracy_text(s.totals.correct(), s.totals.images()),
                         s.seconds, images / s.seconds));
  return {.epoch = s.epoch,
          .split = "train",
          .loss = s.totals.mean_loss(),
          .accuracy = static_cast<double>(s.totals.correct()) / images,
          .lr = s.sgd.lr(),
          .seconds = s.seconds,
          .images_per_s = images / s.seconds};
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
void write_results(RunDirectory& run, const nn::Module& net, const Evaluation& test,
                   const data::Dataset& dataset, const RunOptions& o) {
  std::map<std::string, std::string> metadata = {{"network", "mnist_net"},
                                                 {"norm", std::string(models::name_of(o.norm))}};
  if (o.norm == models::Norm::gn) metadata["groups"] = std::to_string(o.groups);
  save_safetensors(run.file("model.safetensors"), net.state_dict(), metadata);
  if (o.save_logits) save_safetensors(run.file("logits.safetensors"), {{"logits", test.log_probs}}, metadata);
  run.write("predictions.csv", predictions_csv(test));
  run.write("confusion.csv", confusion_csv(test));
  const std::string title = fmt::format("{}, seed {}, {} epochs: {} of {} misclassified", o.network(), o.seed,
                                        o.epochs, test.misclassified().size(), test.images());
  run.write("misclassified.png", misclassified_png(test, dataset, title));
  run.finish();
}

/// From where the state stands to the end; without training, epoch 0 is evaluated. The checkpoint of an epoch
/// is saved before its evaluation, and holds the rows of the epochs before: wherever a run is killed, the one
/// that continues it makes the rows of this epoch again, so that none is lost or doubled.
Evaluation train_epochs(TrainingState& s, RunDirectory& run, const Mnist& mnist, const RunOptions& o) {
  if (o.epochs == 0) s.epoch = 0;
  TrainingSteps steps(s, mnist.train, o);
  while (true) {
    std::vector<Metrics> of_epoch;
    if (s.epoch > 0) {
      std::optional<Profile> profile;
      if (o.profile) profile.emplace();
      train_epoch(s, steps, mnist.train.size(), o);
      if (profile) print_profile(*profile, s);
      profile.reset();
      save_checkpoint(run.file(kCheckpointFile), s.checkpoint(o));
      of_epoch.push_back(train_metrics(s));
    }
    Evaluation test = test_epoch(s.net, mnist.test, o, s.epoch);
    of_epoch.push_back({.epoch = s.epoch,
                        .split = "test",
                        .loss = test.loss,
                        .accuracy = test.accuracy(),
                        .lr = s.sgd.lr(),
                        .seconds = test.seconds,
                        .images_per_s = static_cast<double>(test.images()) / test.seconds});
    for (Metrics& row : of_epoch) {
      describe_parameters(s.net, row);
      s.rows.push_back(row);
    }
    run.write("metrics.csv", metrics_csv(s.rows));
    run.write("metrics.jsonl", metrics_jsonl(s.rows));
    if (s.epoch == o.epochs) return test;
    s.schedule.step();
    s.begin_next_epoch();
  }
}

}  // namespace

Mnist load_data(const RunOptions& o) {
  const auto read = o.dataset == "fashion" ? data::fashion_mnist : data::mnist;
  Mnist mnist{read(o.data, data::Split::train), read(o.data, data::Split::test)};
  stop_if_signalled("after the data was read");
  return mnist;
}

Evaluation train_run(const RunOptions& o, const Mnist& mnist) {
  const std::optional<Checkpoint> checkpoint = checkpoint_for(o);
  TrainingState state(o, checkpoint);
  RunDirectory run(o.out, config(o), checkpoint.has_value());

  std::int64_t parameters = 0;
  for (const Tensor& p : state.net.parameters()) parameters += p.numel();
  print_line(fmt::format(
      "Network {}: {} parameters; device {}, {} CPU threads; {} training and {} test images", o.network(),
      parameters, o.device.str(), num_threads(), mnist.train.size(), mnist.test.size()));
  if (checkpoint) print_line(fmt::format("Continuing {} {}", o.out.string(), checkpoint->where()));

  try {
    const Mnist on_device{mnist.train.to(o.device), mnist.test.to(o.device)};
    Evaluation test = train_epochs(state, run, on_device, o);
    write_results(run, state.net, test, mnist.test, o);
    return test;
  } catch (const NonFiniteError&) {
    run.remove_checkpoint();  // it only leads here again
    throw;
  } catch (const Interrupted& e) {  // between two steps, or in an evaluation, which is repeated
    if (o.epochs == 0) throw;
    save_checkpoint(run.file(kCheckpointFile), state.checkpoint(o));
    throw Interrupted(e.signal, e.where,
                      fmt::format("saved in {}: continue with the same command{}", o.out.string(),
                                  o.resume ? "" : " and --resume"));
  }
}

}  // namespace evenkeel::app
