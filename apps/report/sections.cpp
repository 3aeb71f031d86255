#include "report/sections.h"

#include <cmath>

#include "report/answers.h"
#include "report/html.h"
#include "report/names.h"

namespace evenkeel::app {
namespace {

/// The named charts, as far as there are any.
std::string charts(const Pictures& pictures, const std::vector<std::string>& names) {
  std::string html;
  for (const std::string& name : names) {
    const auto found = pictures.find(name);
    if (found == pictures.end()) continue;
    html += fmt::format("<figure><figcaption>{}</figcaption>\n{}</figure>\n", escape(found->second.title),
                        found->second.svg);
  }
  return html.empty() ? "" : "<div class=\"charts\">\n" + html + "</div>\n";
}

/// Mean with deviation, and the interval, of one metric.
std::array<std::string, 2> summary_cells(const NetworkResult& n, const char* part, const Metric& metric,
                                         int digits) {
  const Summary s = summarize(n, metric);
  const std::string key = fmt::format("{}/{}/{}", part, n.name(), metric.name);
  return {pair_cell({key + "_mean", s.mean, digits}, " ± ", {key + "_std", s.std, digits}),
          pair_cell({key + "_low", s.low, digits}, " to ", {key + "_high", s.high, digits})};
}

Table networks_table(const std::vector<NetworkResult>& networks, const char* part, std::string caption) {
  constexpr const char* kInterval = "95 % interval";
  Table table{std::move(caption),
              {"network", "normalization", "seeds", "accuracy, %", kInterval, "misclassified", kInterval,
               "loss", kInterval, "s an epoch"},
              {}};
  for (const NetworkResult& n : networks) {
    const std::string key = fmt::format("{}/{}/", part, n.name());
    std::vector<std::string> row = {n.name(), text_cell(title_of(n.network)),
                                    cell({key + "seeds", static_cast<double>(n.runs.size()), 0})};
    for (const auto& [metric, digits] :
         {std::pair(kAccuracyPercent, 2), std::pair(kMisclassified, 1), std::pair(kTestLoss, 5)}) {
      for (std::string& c : summary_cells(n, part, metric, digits)) row.push_back(std::move(c));
    }
    row.push_back(cell(
        {key + "seconds_per_epoch_median", median(n.of(&RunResult::seconds_per_epoch)), 1, false, true}));
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table reference_table(const std::vector<NetworkResult>& networks) {
  Table table{"The reference: PyTorch, 20 epochs, one seed",
              {"network", "loss", "accuracy, %", "misclassified", "s an epoch, Colab GPU"},
              {}};
  for (const NetworkResult& n : networks) {
    const Reference* r = reference_for(n.network);
    if (r == nullptr) continue;
    table.rows.push_back({n.name(), text_cell(fmt::format("{}", r->loss)),
                          text_cell(fmt::format("{:.2f}", r->accuracy_percent)),
                          text_cell(fmt::format("{}", r->misclassified)),
                          text_cell(fmt::format("{}", r->seconds_per_epoch))});
  }
  return table;
}

std::string verdict_cell(const Comparison& c) {
  return fmt::format("<td class=\"text\" data-text data-verdict=\"{}\">{}</td>", name_of(c.verdict),
                     escape(verdict_text(c)));
}

Table comparisons_table(const std::vector<Comparison>& comparisons, const char* part, std::string caption) {
  Table table{std::move(caption),
              {"a against b", "difference, points", "95 % interval", "p, sign-flip", "p, Holm",
               "only a right", "only b right", "p, McNemar", "verdict"},
              {}};
  for (const Comparison& c : comparisons) {
    const auto figure = [&](const char* column, double value, int digits, bool p = false) {
      return cell({key_of(c, part, column), value, digits, p});
    };
    table.rows.push_back({c.a->name() + " – " + c.b->name(), figure("difference", c.difference.mean, 3),
                          pair_cell({key_of(c, part, "low"), c.difference.low, 3}, " to ",
                                    {key_of(c, part, "high"), c.difference.high, 3}),
                          figure("p_sign_flip", c.p_sign_flip, 4, true), figure("p_holm", c.p_holm, 4, true),
                          figure("a_only_right", static_cast<double>(c.a_only_right), 0),
                          figure("b_only_right", static_cast<double>(c.b_only_right), 0),
                          figure("p_mcnemar", c.p_mcnemar, 4, true), verdict_cell(c)});
  }
  return table;
}

}  // namespace

std::string networks_section(const Findings& f, const Pictures& pictures) {
  if (f.results.networks.empty())
    return section("networks", "The networks", note("No run of them has finished: there are no figures."));
  std::string content =
      html(networks_table(f.results.networks, "networks", "On the test set, with the final weights"));
  content +=
      note(fmt::format("The table has means ± standard deviations over the seeds, and Student's intervals of "
                       "the means, limited to possible values: accuracy from 0 to 100 %, no loss below 0. "
                       "Fewer than {} seeds give no interval.",
                       kLeastForInterval));
  content += charts(pictures, {"accuracy"});
  if (const Table reference = reference_table(f.results.networks); !reference.rows.empty())
    content += html(reference);
  return section("networks", "The networks", content);
}

std::string curves_section(const Pictures& pictures) {
  return section("curves", "Epoch by epoch",
                 charts(pictures, {"test-loss", "test-accuracy", "test-loss-learned", "test-accuracy-learned",
                                   "train-loss"}) +
                     note("Lines are means over the seeds; bands are their 95 % intervals if there are at "
                          "least three seeds. The vertical axes of the charts of the networks that learn fit "
                          "the later epochs. Training loss is the mean over an epoch, with dropout and "
                          "rotation, while the weights change."));
}

std::string comparisons_section(const Findings& f) {
  if (f.comparisons.empty())
    return section("comparisons", "In pairs",
                   note("No two networks of this study are a pair: nothing is tested."));
  return section("comparisons", "In pairs",
                 html(comparisons_table(f.comparisons, "comparisons",
                                        "Accuracy of a minus accuracy of b, paired by seed")) +
                     note("The same seed gives both networks the same images in the same order, the same "
                          "rotations and the same initial convolution weights. Sign-flip is an exact "
                          "two-sided test on the numbers of misclassified images. Holm is its p-value "
                          "corrected for all rows of the table; it decides the verdict. McNemar is an exact "
                          "test on the predictions of all seeds together. The seeds share the test images, "
                          "so its p-value holds for these images only and does not count for the verdict."));
}

std::string penalty_section(const StudyResults& results) {
  Table table{"Final weights, means over the seeds", {"network"}, {}};
  constexpr std::array<std::pair<const char*, const char*>, 3> kKinds = {
      {{"conv", "convolutions"}, {"gamma", "γ"}, {"beta", "β"}}};
  for (const auto& [kind, name] : kKinds) {
    for (const char* what : {"exactly 0, %", "below 0.001, %", "sum of |p|"})
      table.columns.push_back(fmt::format("{}: {}", name, what));
  }
  for (const NetworkResult& n : results.networks) {
    std::vector<std::string> row = {n.name()};
    for (const auto& [kind, name] : kKinds) {
      const auto mean = mean_fractions(n, kind);
      const std::string key = fmt::format("weights/{}/{}", n.name(), kind);
      row.push_back(mean ? cell({key + "_zero_percent", mean->zero_percent, 1}) : text_cell(""));
      row.push_back(mean ? cell({key + "_small_percent", mean->small_percent, 1}) : text_cell(""));
      row.push_back(mean ? cell({key + "_l1", mean->l1, 1}) : text_cell(""));
    }
    table.rows.push_back(std::move(row));
  }
  return section("penalty", "What L1 does to the weights", html(table));
}

std::string batch_section(const Findings& f, const Pictures& pictures) {
  if (f.results.batch_networks.empty()) return "";
  std::string content =
      charts(pictures, {"batch-size"}) +
      html(networks_table(f.results.batch_networks, "batch", "Every norm at every batch size"));
  content +=
      f.batch_comparisons.empty()
          ? note("One norm at each size: nothing is tested.")
          : html(comparisons_table(f.batch_comparisons, "batch-comparisons", "In pairs at the same size"));
  return section("batch", "As the batch shrinks", content);
}

std::string diagnosis_section(const std::vector<Diagnosis>& diagnosis, const Pictures& pictures) {
  Table table{fmt::format("The first {} training steps", diagnosis.front().steps.size()),
              {"network", "normalization", "max |pooled mean|", "max |logit|", "first loss", "last loss"},
              {}};
  Table gradients{"L2 norms of the gradients in these steps, medians", {"network"}, {}};
  const std::size_t convolutions = diagnosis.front().steps.front().conv_gradients.size();
  for (std::size_t k = 1; k <= convolutions; ++k) gradients.columns.push_back(fmt::format("conv {}", k));
  for (const Diagnosis& d : diagnosis) {
    const std::string key = fmt::format("diagnosis/{}/", d.network);
    table.rows.push_back({d.network, text_cell(d.description),
                          cell({key + "max_abs_pooled", largest(d, &DiagnosisStep::max_abs_pooled), 4}),
                          cell({key + "max_abs_logit", largest(d, &DiagnosisStep::max_abs_logit), 4}),
                          cell({key + "first_loss", d.steps.front().loss, 6}),
                          cell({key + "last_loss", d.steps.back().loss, 6})});
    std::vector<std::string>& row = gradients.rows.emplace_back(std::vector<std::string>{d.network});
    for (std::size_t k = 0; k < convolutions; ++k)
      row.push_back(cell({fmt::format("{}grad_conv{}_median", key, k + 1), median_gradient(d, k), 4}));
  }
  return section("diagnosis", "Why layer norm over rows cannot learn",
                 charts(pictures, {"logits", "gradients"}) + html(table) + html(gradients) +
                     note("These values are measured, with the same seed and images for all networks. The "
                          "pooled means are the averages over each 4x4 plane, which are the input of the "
                          "last convolution."));
}

}  // namespace evenkeel::app
