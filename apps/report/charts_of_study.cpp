#include "report/charts_of_study.h"

#include <cmath>
#include <functional>
#include <set>

#include "report/names.h"

namespace evenkeel::app {
namespace {

using Networks = std::vector<const NetworkResult*>;

/// One network of each norm: as the recipe has it where the study does, else the first.
Networks one_of_each_norm(const std::vector<NetworkResult>& networks) {
  Networks chosen;
  for (const NetworkResult& n : networks) {
    const bool recipe = (n.network.norm == mnist::Norm::bn) == (n.network.sgd.l1 > 0);
    const auto same_norm = std::find_if(chosen.begin(), chosen.end(), [&](const NetworkResult* other) {
      return other->network.norm == n.network.norm;
    });
    if (same_norm == chosen.end()) {
      chosen.push_back(&n);
    } else if (recipe && !is_l1_batch_norm((*same_norm)->network)) {
      *same_norm = &n;
    }
  }
  return chosen;
}

Networks learned(Networks networks) {
  std::erase_if(networks, [](const NetworkResult* n) { return !has_learned(*n); });
  return networks;
}

/// One figure of each epoch, its mean over the seeds and the interval.
Series curve(const NetworkResult& network, std::string_view split,
             const std::function<double(const Metrics&)>& of, Bounds bounds) {
  Series s{network.name(), style_of(network.network), {}, {}};
  std::map<int, std::vector<double>> by_epoch;
  for (const RunResult& run : network.runs) {
    for (const Metrics& row : run.rows) {
      if (row.split == split) by_epoch[row.epoch].push_back(of(row));
    }
  }
  for (const auto& [epoch, values] : by_epoch) {
    const Summary summary = summarize(values, bounds);
    s.x.push_back(epoch);
    s.y.push_back(summary.mean);
    s.low.push_back(summary.low);
    s.high.push_back(summary.high);
  }
  return s;
}

/// What is drawn of each epoch.
struct Drawn {
  const char* title;  // of the axis
  double (*of)(const Metrics&);
  Bounds bounds;
  int digits;  // in words
};
const Drawn kLoss = {"loss", [](const Metrics& row) { return row.loss; }, {.low = 0}, 4};
const Drawn kAccuracy = {"accuracy, %", [](const Metrics& row) { return 100 * row.accuracy; }, {0, 100}, 2};

/// "gn ends at 99.41, ln at 99.38": what a chart shows, in words.
std::string ends(const std::vector<Series>& series, int digits) {
  std::vector<std::string> all;
  for (const Series& s : series)
    all.push_back(fmt::format("{} ends at {:.{}f}", s.label, s.y.back(), digits));
  return fmt::format("{}.", fmt::join(all, ", "));
}

LineChart curves(const char* name, const char* title, const Networks& networks, std::string_view split,
                 const Drawn& drawn, int y_range_from = 0) {
  LineChart chart{name, title, "", "epoch", drawn.title, {}};
  chart.y_bounds = drawn.bounds;
  chart.y_range_from = y_range_from;
  for (const NetworkResult* n : networks) chart.series.push_back(curve(*n, split, drawn.of, drawn.bounds));
  chart.description = fmt::format("{} by epoch. {}", title, ends(chart.series, drawn.digits));
  return chart;
}

DotChart accuracy_dots(const std::vector<NetworkResult>& networks) {
  DotChart chart{"accuracy", "Test accuracy with the final weights", "", "accuracy, %", {}, {0, 100}};
  std::vector<std::string> words;
  for (const NetworkResult& n : networks) {
    if (!has_learned(n)) continue;
    const Summary s = summarize(n, kAccuracyPercent);
    chart.rows.push_back(
        {n.name(), style_of(n.network), n.of(&RunResult::accuracy_percent), s.mean, s.low, s.high});
    words.push_back(fmt::format("{} {:.2f}", n.name(), s.mean));
  }
  chart.description = fmt::format(
      "A dot for each seed, the mean, and its 95 % interval where there are three seeds. Means in "
      "percent: {}.",
      fmt::join(words, ", "));
  return chart;
}

LineChart batch_sizes(const std::vector<NetworkResult>& networks) {
  Networks falling;
  for (const NetworkResult& n : networks) falling.push_back(&n);
  std::stable_sort(falling.begin(), falling.end(), [](const NetworkResult* a, const NetworkResult* b) {
    return a->network.batch_size > b->network.batch_size;
  });
  LineChart chart{"batch-size", "Test accuracy by batch size", "", "images a batch", "accuracy, %", {}, true};
  chart.falling_x = true;
  chart.y_bounds = kAccuracy.bounds;
  for (const NetworkResult* n : falling) {
    const std::string label(name_of(n->network.norm));
    auto series = std::find_if(chart.series.begin(), chart.series.end(),
                               [&](const Series& s) { return s.label == label; });
    if (series == chart.series.end())
      series = chart.series.insert(series, {label, style_of(n->network), {}, {}});
    const Summary s = summarize(*n, kAccuracyPercent);
    series->x.push_back(static_cast<double>(n->network.batch_size));
    series->y.push_back(s.mean);
    series->low.push_back(s.low);
    series->high.push_back(s.high);
  }
  chart.description = fmt::format("Accuracy by batch size; at the last one: {}", ends(chart.series, 2));
  return chart;
}

/// "1.2e-03", or that it is none.
std::string in_words(double value) {
  return std::isfinite(value) ? fmt::format("{:.1e}", value) : "what is not finite";
}

Style style_of(const Diagnosis& d) {
  if (d.network == "gn1") return {static_cast<int>(mnist::Norm::gn), 0};
  if (d.network == "ln-row-moved") return {static_cast<int>(mnist::Norm::ln_row), 1};
  if (d.network == "ln-row-not-last") return {static_cast<int>(mnist::Norm::ln_row), 2};
  return {static_cast<int>(mnist::parse_norm(d.network)), 0};
}

LineChart logits(const std::vector<Diagnosis>& diagnosis) {
  LineChart chart{"logits", "The largest |logit| of a batch", "", "training step", "max |logit|", {}};
  chart.log_y = true;
  for (const Diagnosis& d : diagnosis) {
    Series s{d.network, style_of(d), {}, {}};
    for (const DiagnosisStep& step : d.steps) {
      s.x.push_back(static_cast<double>(s.x.size() + 1));
      s.y.push_back(step.max_abs_logit);
    }
    chart.description += fmt::format("{} ends at {}. ", d.network, in_words(s.y.back()));
    chart.series.push_back(s);
  }
  return chart;
}

LineChart gradients(const std::vector<Diagnosis>& diagnosis) {
  LineChart chart{"gradients",
                  "Gradient of each convolution, median over the steps",
                  "",
                  "convolution",
                  "L2 norm of the gradient",
                  {}};
  chart.log_y = true;
  for (const Diagnosis& d : diagnosis) {
    Series s{d.network, style_of(d), {}, {}};
    for (std::size_t k = 0; k < d.steps.front().conv_gradients.size(); ++k) {
      s.x.push_back(static_cast<double>(k + 1));
      s.y.push_back(median_gradient(d, k));
    }
    chart.description += fmt::format("{}: {} at the first, {} at the last. ", d.network,
                                     in_words(s.y.front()), in_words(s.y.back()));
    chart.series.push_back(s);
  }
  return chart;
}

}  // namespace

Pictures charts_of_study(const Findings& f) {
  Pictures pictures;
  const auto add = [&](const auto& chart) { pictures[chart.name] = {chart.name, chart.title, svg(chart)}; };
  const Networks all = one_of_each_norm(f.results.networks), good = learned(all);
  if (!all.empty()) {
    add(curves("test-loss", "Test loss", all, "test", kLoss));
    add(curves("test-accuracy", "Test accuracy", all, "test", kAccuracy));
  }
  if (!good.empty()) {
    const int late = f.results.study.run.epochs / 3 + 1;
    add(curves("test-loss-learned", "Test loss of the networks that learn", good, "test", kLoss, late));
    add(curves("test-accuracy-learned", "Test accuracy of the networks that learn", good, "test", kAccuracy,
               late));
    add(curves("train-loss", "Training loss of the networks that learn", good, "train", kLoss, late));
    add(accuracy_dots(f.results.networks));
  }
  if (!f.results.batch_networks.empty()) add(batch_sizes(f.results.batch_networks));
  add(logits(f.diagnosis));
  add(gradients(f.diagnosis));
  return pictures;
}

}  // namespace evenkeel::app
