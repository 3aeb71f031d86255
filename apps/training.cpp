#include "training.h"

#include <algorithm>
#include <cmath>

#include "console.h"
#include "core/autograd.h"
#include "core/random.h"
#include "metrics.h"
#include "nn/functional.h"
#include "nn/safetensors.h"
#include "program.h"
#include "run_directory.h"

namespace evenkeel::app {
namespace {

/// Sums over the batches of an epoch. They stay on the device: no step waits for the host.
class RunningTotals {
 public:
  explicit RunningTotals(Device device)
      : loss_(zeros({}, {DType::f64, device})), correct_(zeros({}, {DType::f64, device})) {}

  void add(const Tensor& log_probs, const Tensor& labels, const Tensor& mean_loss) {
    const NoGrad guard;
    const std::int64_t n = labels.size(0);
    const Tensor hits = equal(argmax(log_probs, 1).to(DType::f64), labels.to(DType::f64));
    loss_.add_(mean_loss.detach().to(DType::f64), static_cast<double>(n));
    correct_.add_(sum(hits));
    images_ += n;
  }
  std::int64_t images() const { return images_; }
  // These wait for the device.
  double mean_loss() const { return loss_.item() / static_cast<double>(images_); }
  std::int64_t correct() const { return std::llround(correct_.item()); }

 private:
  Tensor loss_, correct_;
  std::int64_t images_ = 0;
};

void require_finite(double loss, const std::string& where, const RunOptions& o) {
  if (!std::isfinite(loss)) {
    fail<NonFiniteError>("the loss of {} is {} {}: try a lower --lr than {}", o.network(), loss, where,
                         o.sgd.lr);
  }
}

nn::Sequential make_network(const RunOptions& o) {
  manual_seed(o.seed);
  nn::Sequential net = models::mnist_net(o.norm, o.groups);
  if (!o.weights.empty()) {
    const NamedTensors weights = load_safetensors(o.weights);
    try {
      net.load_state_dict(weights);
    } catch (const Error& e) {
      fail<UsageError>("{} does not fit --norm {}: {}", o.weights.string(), models::name_of(o.norm),
                       e.what());
    }
  }
  net.to(o.device);
  return net;
}

std::string accuracy_text(std::int64_t correct, std::int64_t images) {
  return fmt::format("Accuracy: {}/{} ({:.2f}%)", correct, images,
                     100.0 * static_cast<double>(correct) / static_cast<double>(images));
}

Metrics train_epoch(nn::Module& net, optim::SGD& sgd, const data::Dataset& dataset, const RunOptions& o,
                    int epoch) {
  const data::Batches batches = dataset.batches({.size = o.batch_size,
                                                 .seed = o.seed,
                                                 .epoch = static_cast<std::uint64_t>(epoch),
                                                 .rotate = o.rotate,
                                                 .device = o.device,
                                                 .format = fastest_format(o.device)});
  const std::int64_t steps = o.max_steps > 0 ? std::min(o.max_steps, batches.count()) : batches.count();
  const Stopwatch clock;
  RunningTotals totals(o.device);
  {
    EpochProgress progress({epoch, o.epochs, steps, dataset.size(), o.batch_size}, o.quiet);
    for (std::int64_t step = 0; step < steps; ++step) {
      const auto [images, labels] = batches.get(step);
      sgd.zero_grad();
      const Tensor log_probs = net(images);
      const Tensor loss = nll_loss(log_probs, labels);
      loss.backward();
      sgd.step();
      totals.add(log_probs, labels, loss);

      const std::string where = fmt::format("in epoch {}, after step {} of {}", epoch, step + 1, steps);
      if (step % o.log_interval == 0 || step + 1 == steps) require_finite(totals.mean_loss(), where, o);
      if (step % o.log_interval == 0) progress.loss(step, loss.item());
      progress.step(step + 1);
      stop_if_signalled(where);
    }
  }
  const double seconds = clock.seconds();
  const auto images = static_cast<double>(totals.images());
  print_line(fmt::format("Train set: Average loss: {:.4f}, {}, {:.1f} s, {:.0f} images/s", totals.mean_loss(),
                         accuracy_text(totals.correct(), totals.images()), seconds, images / seconds));
  return {.epoch = epoch,
          .split = "train",
          .loss = totals.mean_loss(),
          .accuracy = static_cast<double>(totals.correct()) / images,
          .lr = sgd.lr(),
          .seconds = seconds,
          .images_per_s = images / seconds};
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

}  // namespace

Mnist load_mnist(const std::filesystem::path& directory) {
  Mnist mnist{data::mnist(directory, data::Split::train), data::mnist(directory, data::Split::test)};
  stop_if_signalled("after the data was read");
  return mnist;
}

Evaluation train_run(const RunOptions& o, const Mnist& mnist) {
  nn::Sequential net = make_network(o);
  optim::SGD sgd(net.parameters(), o.sgd);
  optim::StepLR schedule(sgd, o.step_size, o.gamma);
  RunDirectory run(o.out, config(o));

  std::int64_t parameters = 0;
  for (const Tensor& p : net.parameters()) parameters += p.numel();
  print_line(fmt::format(
      "Network {}: {} parameters; device {}, {} CPU threads; {} training and {} test images", o.network(),
      parameters, o.device.str(), num_threads(), mnist.train.size(), mnist.test.size()));

  std::vector<Metrics> rows;
  Evaluation test;
  for (int epoch = std::min(1, o.epochs); epoch <= o.epochs; ++epoch) {  // without training, only epoch 0
    const double lr = sgd.lr();
    if (epoch > 0) {
      rows.push_back(train_epoch(net, sgd, mnist.train, o, epoch));
      describe_parameters(net, rows.back());
      schedule.step();
    }
    test = test_epoch(net, mnist.test, o, epoch);
    rows.push_back({.epoch = epoch,
                    .split = "test",
                    .loss = test.loss,
                    .accuracy = test.accuracy(),
                    .lr = lr,
                    .seconds = test.seconds,
                    .images_per_s = static_cast<double>(test.images()) / test.seconds});
    describe_parameters(net, rows.back());
    run.write("metrics.csv", metrics_csv(rows));
    run.write("metrics.jsonl", metrics_jsonl(rows));
  }
  write_results(run, net, test, mnist.test, o);
  return test;
}

}  // namespace evenkeel::app
