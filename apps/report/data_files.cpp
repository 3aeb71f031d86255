#include "report/data_files.h"

#include <array>
#include <cmath>
#include <functional>

namespace evenkeel::app {
namespace {

/// Both parts of a study with their names.
void for_networks(const StudyResults& results,
                  const std::function<void(const char* part, const NetworkResult& network)>& f) {
  for (const NetworkResult& n : results.networks) f("main", n);
  for (const NetworkResult& n : results.batch_networks) f("batch", n);
}

/// A number in full precision; nothing if it is not finite.
std::string field(double value) { return std::isfinite(value) ? fmt::format("{}", value) : ""; }

std::string list_of(const std::vector<double>& values) {
  std::vector<std::string> all;
  for (const double v : values) all.push_back(field(v));
  return fmt::format("{}", fmt::join(all, ","));
}

std::string fields(const Summary& s) {
  return fmt::format("{},{},{},{}", field(s.mean), field(s.std), field(s.low), field(s.high));
}

double last_train_loss(const RunResult& run) {
  double loss = 0;
  for (const Metrics& row : run.rows) {
    if (row.split == "train") loss = row.loss;
  }
  return loss;
}

std::string runs_csv(const StudyResults& results) {
  std::string csv =
      "part,network,norm,penalty,batch_size,epochs,seed,directory,test_loss,accuracy_percent,misclassified,"
      "train_loss,seconds_per_epoch\n";
  for_networks(results, [&](const char* part, const NetworkResult& n) {
    for (const RunResult& r : n.runs) {
      csv += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{}\n", part, n.name(), name_of(r.run.norm),
                         name_of(penalty_of(r.run)), r.run.batch_size, r.run.epochs, r.run.seed,
                         r.run.out.filename().string(), r.test_loss(), r.accuracy_percent(),
                         r.misclassified(), last_train_loss(r), r.seconds_per_epoch());
    }
  });
  return csv;
}

std::string curves_csv(const StudyResults& results) {
  std::string csv = "part,network,seed,epoch,split,loss,accuracy_percent,seconds\n";
  for_networks(results, [&](const char* part, const NetworkResult& n) {
    for (const RunResult& r : n.runs) {
      for (const Metrics& row : r.rows) {
        csv += fmt::format("{},{},{},{},{},{},{},{}\n", part, n.name(), r.run.seed, row.epoch, row.split,
                           row.loss, 100 * row.accuracy, row.seconds);
      }
    }
  });
  return csv;
}

std::string networks_csv(const StudyResults& results) {
  std::string csv = "part,network,seeds";
  const auto metrics = {kTestLoss, kAccuracyPercent, kMisclassified};
  for (const Metric& m : metrics) csv += fmt::format(",{0}_mean,{0}_std,{0}_low,{0}_high", m.name);
  csv += ",seconds_per_epoch_median\n";
  for_networks(results, [&](const char* part, const NetworkResult& n) {
    csv += fmt::format("{},{},{}", part, n.name(), n.runs.size());
    for (const Metric& m : metrics) csv += fmt::format(",{}", fields(summarize(n, m)));
    csv += fmt::format(",{}\n", median(n.of(&RunResult::seconds_per_epoch)));
  });
  return csv;
}

std::string comparisons_csv(const Findings& findings) {
  std::string csv =
      "part,a,b,seeds,difference,low,high,p_sign_flip,p_holm,smallest_p,a_only_right,b_only_right,p_mcnemar,"
      "verdict\n";
  const auto add = [&](const char* part, const std::vector<Comparison>& comparisons) {
    for (const Comparison& c : comparisons) {
      csv += fmt::format("{},{},{},{},{},{},{},{},{}\n", part, c.a->name(), c.b->name(), c.seeds,
                         list_of({c.difference.mean, c.difference.low, c.difference.high, c.p_sign_flip,
                                  c.p_holm, c.smallest_p}),
                         c.a_only_right, c.b_only_right, field(c.p_mcnemar), name_of(c.verdict));
    }
  };
  add("main", findings.comparisons);
  add("batch", findings.batch_comparisons);
  return csv;
}

std::string misclassified_csv(const StudyResults& results) {
  std::string csv = "part,network,seed,index,label,prediction,p_label,p_prediction\n";
  for_networks(results, [&](const char* part, const NetworkResult& n) {
    for (const RunResult& r : n.runs) {
      for (std::size_t i = 0; i < r.predictions.size(); ++i) {
        const Prediction& p = r.predictions[i];
        if (p.right()) continue;
        csv += fmt::format("{},{},{},{},{},{},{},{}\n", part, n.name(), r.run.seed, i, p.label, p.predicted,
                           p.p_label, p.p_predicted);
      }
    }
  });
  return csv;
}

std::string confusion_csv(const StudyResults& results) {
  std::string csv = "network,label,prediction,count\n";
  for (const NetworkResult& n : results.networks) {
    const Confusion counts = confusion(n);
    for (std::size_t label = 0; label < kClasses; ++label) {
      for (std::size_t predicted = 0; predicted < kClasses; ++predicted)
        csv += fmt::format("{},{},{},{}\n", n.name(), label, predicted, counts[label][predicted]);
    }
  }
  return csv;
}

std::string weights_csv(const StudyResults& results) {
  std::string csv = "network,seed,kind,count,zero,small,l1\n";
  for (const NetworkResult& n : results.networks) {
    for (const RunResult& r : n.runs) {
      for (const ParameterCounts& c : r.parameters) {
        csv += fmt::format("{},{},{},{},{},{},{}\n", n.name(), r.run.seed, c.kind, c.count, c.zero, c.small,
                           c.l1);
      }
    }
  }
  return csv;
}

std::string diagnosis_csv(const std::vector<Diagnosis>& diagnosis) {
  std::string csv = "network,step,loss,max_abs_logit,max_abs_pooled";
  for (std::size_t k = 1; k <= diagnosis.front().steps.front().conv_gradients.size(); ++k)
    csv += fmt::format(",grad_conv{}", k);
  csv += "\n";
  for (const Diagnosis& d : diagnosis) {
    int number = 0;
    for (const DiagnosisStep& step : d.steps) {
      csv += fmt::format("{},{},{},{}\n", d.network, ++number,
                         list_of({step.loss, step.max_abs_logit, step.max_abs_pooled}),
                         list_of(step.conv_gradients));
    }
  }
  return csv;
}

}  // namespace

const Metric kTestLoss = {"test_loss", [](const RunResult& r) { return r.test_loss(); },
                          [](const RunResult&) { return Bounds{.low = 0}; }};
const Metric kAccuracyPercent = {"accuracy_percent", [](const RunResult& r) { return r.accuracy_percent(); },
                                 [](const RunResult&) {
                                   return Bounds{0, 100};
                                 }};
const Metric kMisclassified = {"misclassified",
                               [](const RunResult& r) { return static_cast<double>(r.misclassified()); },
                               [](const RunResult& r) {
                                 return Bounds{0, static_cast<double>(r.predictions.size())};
                               }};

Summary summarize(const NetworkResult& network, const Metric& metric) {
  std::vector<double> values;
  for (const RunResult& run : network.runs) values.push_back(metric.of(run));
  return summarize(values, metric.bounds(network.runs.front()));
}

Confusion confusion(const NetworkResult& network) {
  Confusion counts{};
  for (const RunResult& run : network.runs) {
    for (const Prediction& p : run.predictions) ++counts[p.label][p.predicted];
  }
  return counts;
}

std::optional<ParameterFractions> mean_fractions(const NetworkResult& network, std::string_view kind) {
  ParameterFractions sum;
  int there = 0;
  for (const RunResult& run : network.runs) {
    for (const ParameterCounts& c : run.parameters) {
      if (c.kind != kind) continue;
      sum.zero_percent += 100 * static_cast<double>(c.zero) / static_cast<double>(c.count);
      sum.small_percent += 100 * static_cast<double>(c.small) / static_cast<double>(c.count);
      sum.l1 += c.l1;
      ++there;
    }
  }
  if (there == 0) return std::nullopt;
  return ParameterFractions{sum.zero_percent / there, sum.small_percent / there, sum.l1 / there};
}

std::map<std::string, std::string> data_files(const Findings& findings) {
  const StudyResults& results = findings.results;
  return {{"runs.csv", runs_csv(results)},
          {"curves.csv", curves_csv(results)},
          {"networks.csv", networks_csv(results)},
          {"comparisons.csv", comparisons_csv(findings)},
          {"misclassified.csv", misclassified_csv(results)},
          {"confusion.csv", confusion_csv(results)},
          {"weights.csv", weights_csv(results)},
          {"diagnosis.csv", diagnosis_csv(findings.diagnosis)}};
}

}  // namespace evenkeel::app
