#include "report/mistakes.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "picture.h"
#include "report/data_files.h"
#include "report/html.h"
#include "report/names.h"

namespace evenkeel::app {
namespace {

constexpr int kColumns = 50;  // of the picture

/// The images that any network gets wrong with its first seed.
std::vector<std::int64_t> images_to_show(const std::vector<NetworkResult>& networks) {
  std::set<std::int64_t> images;
  for (const NetworkResult& n : networks) {
    const std::vector<Prediction>& predictions = n.runs.front().predictions;
    for (std::size_t i = 0; i < predictions.size(); ++i) {
      if (!predictions[i].right()) images.insert(static_cast<std::int64_t>(i));
    }
  }
  return {images.begin(), images.end()};
}

nlohmann::json wrong_of(const NetworkResult& network) {
  nlohmann::json wrong = nlohmann::json::array();
  const std::vector<Prediction>& predictions = network.runs.front().predictions;
  for (std::size_t i = 0; i < predictions.size(); ++i) {
    const Prediction& p = predictions[i];
    if (!p.right()) wrong.push_back({i, p.label, p.predicted, p.p_label, p.p_predicted});
  }
  return wrong;
}

/// How many seeds of each network get the image wrong.
std::vector<std::int64_t> missed_by(const std::vector<NetworkResult>& networks, std::int64_t image) {
  std::vector<std::int64_t> counts;
  for (const NetworkResult& n : networks) {
    counts.push_back(std::count_if(n.runs.begin(), n.runs.end(), [&](const RunResult& run) {
      return !run.predictions[static_cast<std::size_t>(image)].right();
    }));
  }
  return counts;
}

/// What the grid is drawn from: JSON for script.js, which describes it, and the images in one picture.
struct MistakeGrid {
  std::string json;
  std::string sheet;  // the bytes of a PNG
};

MistakeGrid mistake_grid(const StudyResults& results, const data::Dataset& test) {
  const std::vector<NetworkResult>& networks = results.networks;
  const int size = static_cast<int>(test.images().size(2));
  nlohmann::json all = nlohmann::json::array(), missed = nlohmann::json::object(), slots = missed;
  for (const NetworkResult& n : networks) {
    all.push_back({{"name", n.name()},
                   {"title", title_of(n.network)},
                   {"seed", n.runs.front().run.seed},
                   {"seeds", n.runs.size()},
                   {"learned", has_learned(n)},
                   {"wrong", wrong_of(n)}});
  }
  std::vector<std::vector<std::uint8_t>> pixels;
  for (const std::int64_t image : images_to_show(networks)) {
    missed[std::to_string(image)] = missed_by(networks, image);
    slots[std::to_string(image)] = pixels.size();
    pixels.push_back(test.images().slice(0, image, image + 1).to_vector<std::uint8_t>());
  }
  const nlohmann::json grid = {{"dataset", results.study.run.dataset},
                               {"classes", classes_of(results.study.run.dataset)},
                               {"seeds", results.study.seeds},
                               {"networks", all},
                               {"missed", missed},
                               {"sprite", {{"columns", kColumns}, {"size", size}, {"slot", slots}}}};
  return {grid.dump(), sheet_png(pixels, kColumns, size)};
}

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

}  // namespace

SharedMistakes shared_mistakes(const std::vector<NetworkResult>& networks) {
  SharedMistakes shared;
  std::vector<const std::vector<Prediction>*> learned;
  for (const NetworkResult& n : networks) {
    if (has_learned(n)) learned.push_back(&n.runs.front().predictions);
  }
  if (learned.empty()) return shared;
  for (std::size_t i = 0; i < learned.front()->size(); ++i) {
    const auto wrong = std::count_if(learned.begin(), learned.end(),
                                     [i](const auto* predictions) { return !(*predictions)[i].right(); });
    if (wrong > 0) shared.by_any.push_back(static_cast<std::int64_t>(i));
    if (wrong == std::ssize(learned)) shared.by_every.push_back(static_cast<std::int64_t>(i));
  }
  return shared;
}

std::vector<double> mistakes_by_label(const NetworkResult& network) {
  std::vector<double> mean(10);
  for (const RunResult& run : network.runs) {
    for (const Prediction& p : run.predictions) mean[p.label] += p.right() ? 0 : 1;
  }
  for (double& m : mean) m /= static_cast<double>(network.runs.size());
  return mean;
}

std::string mistakes_section(const StudyResults& results, const data::Dataset& test) {
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
  content +=
      note(fmt::format("The predictions are made with the weights of each network's first seed, {} unless "
                       "that run failed. Below each image are its label and the prediction with their "
                       "probabilities, and the networks and seeds that misclassify it.",
                       results.study.run.seed));
  content += html(labels_table(results)) + "<h3>Confusion matrices</h3>\n";
  for (const NetworkResult& n : results.networks) {
    content += fmt::format("<details><summary>{}</summary>\n{}</details>\n", escape(title_of(n.network)),
                           html(confusion_table(n)));
  }
  constexpr int kShown = 56;  // pixels: see style.css
  content += fmt::format(
      "<style>.digit .pixels {{ background-image: url({}); background-size: {}px auto; "
      "image-rendering: pixelated; }}</style>\n",
      data_uri("image/png", grid.sheet), kColumns * kShown);
  // "</" would end the script element.
  std::string json = grid.json;
  for (std::size_t i = json.find("</"); i != std::string::npos; i = json.find("</", i))
    json.replace(i, 2, "<\\/");
  content += fmt::format("<script type=\"application/json\" id=\"misclassified-data\">{}</script>\n", json);
  return section("mistakes", "What they get wrong", content);
}

}  // namespace evenkeel::app
