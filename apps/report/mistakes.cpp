#include "report/mistakes.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "picture.h"
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

MistakeGrid mistake_grid(const StudyResults& results, const data::Dataset& test) {
  const std::vector<NetworkResult>& networks = results.networks;
  const int size = static_cast<int>(test.images().size(2));
  nlohmann::json all = nlohmann::json::array(), missed = nlohmann::json::object(), slots = missed;
  for (const NetworkResult& n : networks) {
    all.push_back({{"name", n.name()},
                   {"title", title_of(n.network)},
                   {"seed", n.network.seed},
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

}  // namespace evenkeel::app
