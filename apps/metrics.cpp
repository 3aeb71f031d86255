#include "metrics.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "evenkeel/core/files.h"
#include "evenkeel/core/json.h"

namespace evenkeel::app {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Metrics, epoch, split, loss, accuracy, lr, seconds, images_per_s, l1,
                                   sparsity)

namespace {

Metrics parse_row(const std::string& line) {
  constexpr std::size_t kMostBytes = 4096;
  if (line.size() > kMostBytes) fail<Malformed>("has a line of {} bytes", line.size());
  const nlohmann::json row = parse_json(line, "has a line that is", 1);
  constexpr double kMostSeconds = 1e9;  // 31 years
  constexpr int kMostEpochs = std::numeric_limits<int>::max();
  return {.epoch = static_cast<int>(integer_at(row, "epoch", 0, kMostEpochs)),
          .split = text_at(row, "split"),
          .loss = number_at(row, "loss", 0),
          .accuracy = number_at(row, "accuracy", 0, 1),
          .lr = number_at(row, "lr", 0),
          .seconds = number_at(row, "seconds", 0, kMostSeconds),
          .images_per_s = number_at(row, "images_per_s", 0),
          .l1 = number_at(row, "l1", 0),
          .sparsity = number_at(row, "sparsity", 0, 1)};
}

/// The last of the rows comes after those before.
void check_place(const std::vector<Metrics>& rows) {
  const Metrics& row = rows.back();
  const std::size_t before = rows.size() - 1;
  const bool untrained = before == 0 && row.epoch == 0 && row.split == "test";
  const std::size_t epoch = rows.front().epoch == 0 ? 0 : before / 2 + 1;
  const char* split = before % 2 == 0 ? "train" : "test";
  if (!untrained && (epoch == 0 || static_cast<std::size_t>(row.epoch) != epoch || row.split != split)) {
    fail<Malformed>("has epoch {}, {}, in line {}, where that of another belongs", row.epoch,
                    in_quotes(row.split), rows.size());
  }
}

}  // namespace

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
  if (!jsonl.empty() && jsonl.back() != '\n') fail<Malformed>("is cut short: its last line has no end");
  std::vector<Metrics> rows;
  std::istringstream in(jsonl);
  for (std::string line; std::getline(in, line);) {
    rows.push_back(parse_row(line));
    check_place(rows);
  }
  return rows;
}

std::vector<Metrics> read_metrics(const std::filesystem::path& jsonl) {
  constexpr std::size_t kMostBytes = 256 << 20;  // of half a million epochs
  std::vector<Metrics> rows = parse_metrics(read_text(jsonl, kMostBytes));
  if (rows.empty()) fail<Malformed>("has no figures");
  return rows;
}

}  // namespace evenkeel::app
