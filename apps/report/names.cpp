#include "report/names.h"

namespace evenkeel::app {

std::string title_of(const RunOptions& network) {
  static constexpr std::array<const char*, 7> kNorms = {
      "batch norm",    "group norm", "layer norm (C,H,W)", "layer norm, rows", "layer norm over C",
      "instance norm", "no norm"};
  std::string title = kNorms[static_cast<std::size_t>(network.norm)];
  if (network.sgd.l1 == 0) return title;
  return (network.sgd.l1_mode == optim::L1Mode::proximal ? "proximal L1 + " : "L1 + ") + title;
}

Style style_of(const RunOptions& network) {
  const int dash = network.sgd.l1 == 0 ? 0 : network.sgd.l1_mode == optim::L1Mode::proximal ? 2 : 1;
  return {static_cast<int>(network.norm), dash};
}

std::array<std::string_view, 10> classes_of(const std::string& dataset) {
  if (dataset == "fashion")
    return {"T-shirt", "Trouser", "Pullover", "Dress", "Coat",
            "Sandal",  "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
  return {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
}

bool has_learned(const NetworkResult& network) { return network.runs.front().accuracy_percent() > 50; }

}  // namespace evenkeel::app
