#include "report/page.h"

#include <cmath>

#include "device_name.h"
#include "report/answers.h"
#include "report/assets.h"
#include "report/html.h"
#include "report/mistakes.h"
#include "report/names.h"

namespace evenkeel::app {
namespace {

std::string section(std::string_view id, std::string_view title, const std::string& content) {
  return fmt::format(
      "<section id=\"{0}\" aria-labelledby=\"{0}-h\">\n<h2 id=\"{0}-h\">{1}</h2>\n{2}</section>\n", id,
      escape(title), content);
}

std::string note(std::string_view html) { return fmt::format("<p class=\"note\">{}</p>\n", html); }

/// Those of the named charts that there are.
std::string charts(const std::map<std::string, Picture>& pictures, const std::vector<std::string>& names) {
  std::string html;
  for (const std::string& name : names) {
    const auto found = pictures.find(name);
    if (found == pictures.end()) continue;
    html += fmt::format("<figure><figcaption>{}</figcaption>\n{}</figure>\n", escape(found->second.title),
                        found->second.svg);
  }
  return html.empty() ? "" : "<div class=\"charts\">\n" + html + "</div>\n";
}

// --- the networks ------------------------------------------------------------------------------------------

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
  const Metric &loss = metrics_of_a_run()[0], &accuracy = metrics_of_a_run()[1],
               &misclassified = metrics_of_a_run()[2];
  for (const NetworkResult& n : networks) {
    const std::string key = fmt::format("{}/{}/", part, n.name());
    std::vector<std::string> row = {n.name(), text_cell(title_of(n.network)),
                                    cell({key + "seeds", static_cast<double>(n.runs.size()), 0})};
    for (const auto& [metric, digits] :
         {std::pair(accuracy, 2), std::pair(misclassified, 1), std::pair(loss, 5)}) {
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

std::string networks_section(const Findings& f, const std::map<std::string, Picture>& pictures) {
  std::string content =
      html(networks_table(f.results.networks, "networks", "On the test set, with the final weights"));
  content += charts(pictures, {"accuracy"});
  if (const Table reference = reference_table(f.results.networks); !reference.rows.empty())
    content += html(reference);
  return section("networks", "The networks", content);
}

std::string curves_section(const std::map<std::string, Picture>& pictures) {
  return section(
      "curves", "Epoch by epoch",
      charts(pictures,
             {"test-loss", "test-accuracy", "test-loss-learned", "test-accuracy-learned", "train-loss"}) +
          note(
              "Lines are means over the seeds, bands their 95 % intervals. Training loss is the mean over an "
              "epoch while the weights change, with dropout and rotation."));
}

std::string comparisons_section(const Findings& f) {
  return section("comparisons", "In pairs",
                 html(comparisons_table(f.comparisons, "comparisons",
                                        "Accuracy of a minus accuracy of b, paired by seed")) +
                     note("The same seed gives both networks the same images in the same order, the same "
                          "rotations and the same first "
                          "convolution weights. Sign-flip: exact, two-sided, on the misclassified images. "
                          "Holm: corrected for all rows "
                          "together. McNemar: exact, on the predictions of all seeds together; as seeds "
                          "share the test images it "
                          "speaks of these images only, and decides nothing here."));
}

// --- what L1 does ------------------------------------------------------------------------------------------

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

// --- batch sizes and layer norm ----------------------------------------------------------------------------

std::string batch_section(const Findings& f, const std::map<std::string, Picture>& pictures) {
  if (f.results.batch_networks.empty()) return "";
  return section(
      "batch", "As the batch shrinks",
      charts(pictures, {"batch-size"}) +
          html(networks_table(f.results.batch_networks, "batch", "Every norm at every batch size")) +
          html(comparisons_table(f.batch_comparisons, "batch-comparisons", "In pairs at the same size")));
}

std::string diagnosis_section(const std::vector<Diagnosis>& diagnosis,
                              const std::map<std::string, Picture>& pictures) {
  Table table{fmt::format("The first {} training steps", diagnosis.front().steps.size()),
              {"network", "normalization", "max |pooled mean|", "max |logit|", "first loss", "last loss"},
              {}};
  const std::size_t convolutions = diagnosis.front().steps.front().conv_gradients.size();
  for (std::size_t k = 1; k <= convolutions; ++k)
    table.columns.push_back(fmt::format("gradient, conv {}", k));
  for (const Diagnosis& d : diagnosis) {
    const std::string key = fmt::format("diagnosis/{}/", d.network);
    std::vector<std::string> row = {
        d.network,
        text_cell(d.description),
        cell({key + "max_abs_pooled", largest(d, &DiagnosisStep::max_abs_pooled), 4}),
        cell({key + "max_abs_logit", largest(d, &DiagnosisStep::max_abs_logit), 4}),
        cell({key + "first_loss", d.steps.front().loss, 6}),
        cell({key + "last_loss", d.steps.back().loss, 6})};
    for (std::size_t k = 0; k < convolutions; ++k)
      row.push_back(cell({fmt::format("{}grad_conv{}_median", key, k + 1), median_gradient(d, k), 4}));
    table.rows.push_back(std::move(row));
  }
  return section("diagnosis", "Why layer norm over rows cannot learn",
                 charts(pictures, {"logits", "gradients"}) + html(table) +
                     note("Measured, not derived: the same seed and images for all. Pooled means are what "
                          "the average over each 4x4 plane "
                          "hands to the last convolution; gradients are L2 norms, medians over the steps."));
}

// --- mistakes ----------------------------------------------------------------------------------------------

Table labels_table(const StudyResults& results) {
  Table table{"Misclassified images by label, means over the seeds", {"network"}, {}};
  for (const std::string_view name : classes_of(results.study.run.dataset)) table.columns.emplace_back(name);
  for (const NetworkResult& n : results.networks) {
    std::vector<std::string> row = {n.name()};
    const std::vector<double> missed = mistakes_by_label(n);
    const double most = *std::max_element(missed.begin(), missed.end());
    for (std::size_t label = 0; label < missed.size(); ++label)
      row.push_back(cell({fmt::format("digits/{}/{}", n.name(), label), missed[label], 1},
                         missed[label] / std::max(most, 1.0)));
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table confusion_table(const NetworkResult& n) {
  const auto classes = classes_of(n.network.dataset);
  Table table{fmt::format("{}: label by row, prediction by column, all seeds", n.name()), {"label"}, {}};
  for (const std::string_view name : classes) table.columns.emplace_back(name);
  const Confusion counts = confusion(n);
  double most = 1;  // of the mistakes
  for (std::size_t i = 0; i < kClasses; ++i) {
    for (std::size_t j = 0; j < kClasses; ++j)
      most = std::max(most, i == j ? 0 : static_cast<double>(counts[i][j]));
  }
  for (std::size_t i = 0; i < kClasses; ++i) {
    std::vector<std::string> row = {std::string(classes[i])};
    for (std::size_t j = 0; j < kClasses; ++j) {
      const auto count = static_cast<double>(counts[i][j]);
      row.push_back(
          cell({fmt::format("confusion/{}/{}/{}", n.name(), i, j), count, 0}, i == j ? 0 : count / most));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::string option(std::string_view value, std::string_view text) {
  return fmt::format("<option value=\"{}\">{}</option>", escape(value), escape(text));
}

std::string mistakes_section(const Findings& f, const data::Dataset& test) {
  const StudyResults& results = f.results;
  std::string networks, labels = option("all", "all"),
                        by = option("any", "this network") + option("every", "every network that learns") +
                             option("only", "this one alone of those that learn");
  for (const NetworkResult& n : results.networks) {
    networks += option(n.name(), title_of(n.network));
    by += option(n.name(), fmt::format("{} as well", n.name()));
  }
  for (std::size_t i = 0; i < kClasses; ++i)
    labels += option(std::to_string(i), classes_of(results.study.run.dataset)[i]);
  const MistakeGrid grid = mistake_grid(results, test);
  std::string content = fmt::format(
      "<div class=\"filters\">\n<label>network <select id=\"filter-network\">{}</select></label>\n"
      "<label>label <select id=\"filter-label\">{}</select></label>\n"
      "<label>missed by <select id=\"filter-missed-by\">{}</select></label>\n</div>\n"
      "<p id=\"misclassified-count\" aria-live=\"polite\"></p>\n<div id=\"misclassified-grid\"></div>\n"
      "<p><button id=\"misclassified-more\" type=\"button\">Show more</button></p>\n",
      networks, labels, by);
  content += note(
      fmt::format("With the weights of seed {}. Below each image its label and the prediction with their "
                  "probabilities, and the networks and seeds that get it wrong.",
                  results.study.run.seed));
  content += html(labels_table(results)) + "<h3>Confusion matrices</h3>\n";
  for (const NetworkResult& n : results.networks) {
    content += fmt::format("<details><summary>{}</summary>\n{}</details>\n", escape(title_of(n.network)),
                           html(confusion_table(n)));
  }
  constexpr int kShown = 56;  // pixels: see style.css
  const auto columns = nlohmann::json::parse(grid.json).at("sprite").at("columns").get<int>();
  content += fmt::format(
      "<style>.digit .pixels {{ background-image: url({}); background-size: {}px auto; "
      "image-rendering: pixelated; }}</style>\n",
      data_uri("image/png", grid.sheet), columns * kShown);
  // "</" would end the script element.
  std::string json = grid.json;
  for (std::size_t i = json.find("</"); i != std::string::npos; i = json.find("</", i))
    json.replace(i, 2, "<\\/");
  content += fmt::format("<script type=\"application/json\" id=\"misclassified-data\">{}</script>\n", json);
  return section("mistakes", "What they get wrong", content);
}

// --- how it was made ---------------------------------------------------------------------------------------

std::string origin_section(const StudyOptions& study) {
  const nlohmann::json made = config(study.run);
  const std::string device = device_name(study.run.device);
  std::string content = fmt::format("<pre>{}</pre>\n", escape(study.command));
  content += fmt::format(
      "<p>Evenkeel {}, {}, {}; device {} ({}), <span data-timing>{} CPU threads</span>.</p>\n",
      made.at("evenkeel").get<std::string>(), escape(made.at("compiler").get<std::string>()),
      escape(made.at("build").get<std::string>()), study.run.device.str(), escape(device), num_threads());
  content += fmt::format("<p>Recipe: <code>{}</code></p>\n", escape(recipe(study.run).dump()));
  content +=
      "<p>All figures: <a href=\"data/networks.csv\">networks</a>, <a "
      "href=\"data/comparisons.csv\">comparisons</a>, "
      "<a href=\"data/runs.csv\">runs</a>, <a href=\"data/curves.csv\">curves</a>, "
      "<a href=\"data/misclassified.csv\">misclassified images</a>, <a "
      "href=\"data/confusion.csv\">confusion</a>, "
      "<a href=\"data/weights.csv\">weights</a>, <a href=\"data/diagnosis.csv\">diagnosis</a>; the charts as "
      "SVG and PNG "
      "are in <code>charts/</code>.</p>\n";
  return section("origin", "How this was made", content);
}

std::string answers_section(const Findings& f) {
  std::string content;
  for (const Answer& a : answers(f)) content += fmt::format("<h3>{}</h3>\n{}", escape(a.question), a.html);
  return section("answers", "Questions and answers", content);
}

/// The part of style.css that is about charts, with the light colours in place of their names: viewers of SVG
/// files do not know CSS variables.
std::string chart_style() {
  const std::size_t begin = kStyle.find("/* charts"), end = kStyle.find("/* misclassified");
  std::string style(kStyle.substr(begin, end - begin));
  for (std::size_t i = style.find("var("); i != std::string::npos; i = style.find("var(", i)) {
    const std::size_t close = style.find(')', i);
    const std::string name = style.substr(i + 4, close - i - 4) + ": ";
    const std::size_t value = kStyle.find(name) + name.size();  // the first definition is the light one
    style.replace(i, close + 1 - i, kStyle.substr(value, kStyle.find(';', value) - value));
  }
  return style;
}

}  // namespace

std::string page(const Findings& f, const std::map<std::string, Picture>& pictures,
                 const data::Dataset& test) {
  const StudyOptions& study = f.results.study;
  const std::string name = study.run.dataset == "fashion" ? "Fashion-MNIST" : "MNIST";
  const std::string title = fmt::format("Which normalization? One {} network, everything else equal", name);
  std::string body = fmt::format(
      "<h1>{}</h1>\n<p>{} networks of 9,160 convolution weights, {} epochs each, {} seed{}. The recipe, data "
      "order, "
      "rotations and first weights are the same for all.</p>\n",
      escape(title), f.results.networks.size(), study.run.epochs, study.seeds, study.seeds == 1 ? "" : "s");
  body +=
      "<nav aria-label=\"Sections\"><a href=\"#answers\">Answers</a> <a href=\"#networks\">Networks</a> "
      "<a href=\"#curves\">Curves</a> <a href=\"#comparisons\">Pairs</a> <a href=\"#penalty\">L1</a> " +
      std::string(f.results.batch_networks.empty() ? "" : "<a href=\"#batch\">Batch size</a> ") +
      "<a href=\"#diagnosis\">Layer norm</a> <a href=\"#mistakes\">Mistakes</a> <a "
      "href=\"#origin\">Origin</a></nav>\n";
  body += answers_section(f) + networks_section(f, pictures) + curves_section(pictures) +
          comparisons_section(f) + penalty_section(f.results) + batch_section(f, pictures) +
          diagnosis_section(f.diagnosis, pictures) + mistakes_section(f, test) + origin_section(study);
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n"
      "<link rel=\"icon\" "
      "href=\"data:,\">\n<style>\n{}</style>\n</head>\n<body>\n<main>\n{}</main>\n<script>\n{}</script>\n"
      "</body>\n</html>\n",
      escape(title), kStyle, body, kScript);
}

std::string standalone_svg(const Picture& picture) {
  std::string svg = picture.svg;
  svg.insert(svg.find('>') + 1, fmt::format("\n<style>{}svg.chart {{ font-family: sans-serif; }}</style>\n"
                                            "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>",
                                            chart_style()));
  return svg;
}

}  // namespace evenkeel::app
