#include "metrics.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"

namespace evenkeel::app {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Metrics, epoch, split, loss, accuracy, lr, seconds, images_per_s, l1,
                                   sparsity)

std::string metrics_csv(const std::vector<Metrics>& rows) {
  std::string csv = "epoch,split,loss,accuracy,lr,seconds,images_per_s,l1,sparsity\n";
  for (const Metrics& m : rows) {
    csv += fmt::format("{},{},{},{},{:.6g},{},{},{},{}\n", m.epoch, m.split, m.loss, m.accuracy, m.lr,
                       m.seconds, m.images_per_s, m.l1, m.sparsity);
  }
  return csv;
}

std::string metrics_jsonl(const std::vector<Metrics>& rows) {
  std::string lines;
  for (const Metrics& m : rows) lines += nlohmann::json(m).dump() + "\n";
  return lines;
}

std::vector<Metrics> parse_metrics(const std::string& jsonl) {
  std::vector<Metrics> rows;
  std::istringstream in(jsonl);
  for (std::string line; std::getline(in, line);) rows.push_back(nlohmann::json::parse(line).get<Metrics>());
  return rows;
}

std::vector<Metrics> read_metrics(const std::filesystem::path& jsonl) {
  std::vector<Metrics> rows;
  std::ostringstream text;
  text << std::ifstream(jsonl).rdbuf();
  try {
    rows = parse_metrics(text.str());
  } catch (const nlohmann::json::exception&) {
    rows.clear();
  }
  EK_CHECK(!rows.empty(), "cannot read the figures in {}: remove that run, so that it is repeated",
           jsonl.string());
  return rows;
}

}  // namespace evenkeel::app
