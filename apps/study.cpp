#include "study.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>

#include "console.h"
#include "metrics.h"
#include "resume.h"

namespace evenkeel::app {
namespace {

/// Lines of predictions.csv whose prediction is not the label.
std::int64_t count_misclassified(const std::filesystem::path& predictions) {
  std::ifstream in(predictions);
  std::int64_t wrong = 0, images = 0;
  std::string line;
  std::getline(in, line);  // the names of the columns
  for (; std::getline(in, line); ++images) {
    std::int64_t index = 0, label = 0, prediction = 0;
    char comma = 0;
    if (!(std::istringstream(line) >> index >> comma >> label >> comma >> prediction)) break;
    wrong += label != prediction;
  }
  EK_CHECK(images > 0 && in.eof(), "cannot read {}: remove that run, so that it is repeated",
           predictions.string());
  return wrong;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

Statistic statistic(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double v : values) sum += v;
  for (const double v : values) squares += (v - sum / n) * (v - sum / n);
  return {sum / n, n > 1 ? std::sqrt(squares / (n - 1)) : std::numeric_limits<double>::quiet_NaN()};
}

/// PyTorch on a Colab GPU, one seed, epoch 20.
struct Reference {
  const char* network;
  double loss, accuracy;
  int misclassified;
  double seconds;
};
constexpr Reference kReference[] = {{"bn-l1", 0.01686, 99.43, 57, 24},
                                    {"gn", 0.01832, 99.48, 52, 22},
                                    {"ln-row", 2.302585, 9.80, 9020, 21.5}};

const Reference* reference_for(const RunOptions& run) {
  const auto* found = std::find_if(std::begin(kReference), std::end(kReference),
                                   [&](const Reference& r) { return run.network() == r.network; });
  return found == std::end(kReference) ? nullptr : found;
}

std::string text(const Statistic& s, int digits) {
  if (std::isnan(s.std)) return fmt::format("{:.{}f}", s.mean, digits);
  return fmt::format("{:.{}f} ± {:.{}f}", s.mean, digits, s.std, digits);
}

std::string csv(const Statistic& s) {
  return std::isnan(s.std) ? fmt::format("{},", s.mean) : fmt::format("{},{}", s.mean, s.std);
}

}  // namespace

std::vector<RunOptions> runs_to_do(const StudyOptions& study) {
  std::vector<RunOptions> to_do, finished;
  for (const RunOptions& run : study.runs()) {
    if (finished_before(run)) {
      finished.push_back(run);
    } else {
      checkpoint_for(run);  // refused now, not hours later
      to_do.push_back(run);
    }
  }
  for (const RunOptions& run : finished)
    print_line(fmt::format("Using {}, finished before", run.out.string()));
  return to_do;
}

std::vector<NetworkSummary> summarize(const StudyOptions& study) {
  std::vector<NetworkSummary> networks;
  for (const RunOptions& network : study.networks()) {
    std::vector<double> loss, accuracy, misclassified, seconds;
    for (int i = 0; i < study.seeds; ++i) {
      const RunOptions run = study.run_of(network, i);
      const std::vector<Metrics> rows = read_metrics(run.out / "metrics.jsonl");
      std::vector<double> epochs;
      for (const Metrics& row : rows) {
        if (row.split == "train") epochs.push_back(row.seconds);
      }
      loss.push_back(rows.back().loss);  // the last row is of the test set
      accuracy.push_back(100 * rows.back().accuracy);
      misclassified.push_back(static_cast<double>(count_misclassified(run.out / "predictions.csv")));
      seconds.push_back(median(epochs));
    }
    networks.push_back({network, study.seeds, statistic(loss), statistic(accuracy), statistic(misclassified),
                        statistic(seconds)});
  }
  return networks;
}

std::string summary_csv(const std::vector<NetworkSummary>& networks) {
  std::string lines =
      "network,epochs,seeds,test_loss,test_loss_std,accuracy_percent,accuracy_percent_std,misclassified,"
      "misclassified_std,seconds_per_epoch,seconds_per_epoch_std,reference_test_loss,reference_accuracy_"
      "percent,"
      "reference_misclassified,reference_seconds_per_epoch\n";
  for (const NetworkSummary& n : networks) {
    lines += fmt::format("{},{},{},{},{},{},{}", n.run.network(), n.run.epochs, n.seeds, csv(n.loss),
                         csv(n.accuracy), csv(n.misclassified), csv(n.seconds));
    if (const Reference* r = reference_for(n.run)) {
      lines += fmt::format(",{},{},{},{}\n", r->loss, r->accuracy, r->misclassified, r->seconds);
    } else {
      lines += ",,,,\n";
    }
  }
  return lines;
}

std::string summary_table(const std::vector<NetworkSummary>& networks) {
  constexpr const char* kRow = "{:<8} {:>6} {:>5}  {:>17} {:>13} {:>14} {:>12} | {:>9} {:>10} {:>13}\n";
  std::string table = fmt::format("{:>72} | {:<}\n", "", "reference*") +
                      fmt::format(kRow, "network", "epochs", "seeds", "test loss", "accuracy %",
                                  "misclassified", "s per epoch", "test loss", "accuracy %", "misclassified");
  for (const NetworkSummary& n : networks) {
    const Reference* r = reference_for(n.run);
    table +=
        fmt::format(kRow, n.run.network(), n.run.epochs, n.seeds, text(n.loss, 5), text(n.accuracy, 2),
                    text(n.misclassified, n.seeds > 1 ? 1 : 0), text(n.seconds, 1),
                    r ? fmt::format("{:.5f}", r->loss) : "-", r ? fmt::format("{:.2f}", r->accuracy) : "-",
                    r ? fmt::format("{}", r->misclassified) : "-");
  }
  return table + "* PyTorch, 20 epochs, one seed; 21.5 to 24 s per epoch on a Colab GPU";
}

}  // namespace evenkeel::app
