// The figures of a run, epoch by epoch: metrics.csv and metrics.jsonl.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace evenkeel::app {

/// One epoch on one split.
struct Metrics {
  int epoch = 0;
  std::string split;  ///< "train" (running averages of the epoch's batches) or "test"
  double loss = 0;
  double accuracy = 0;  ///< a fraction
  double lr = 0;
  double seconds = 0;
  double images_per_s = 0;
  double l1 = 0;        ///< sum |p| over all parameters after the epoch
  double sparsity = 0;  ///< fraction of the parameters that are exactly 0

  friend bool operator==(const Metrics&, const Metrics&) = default;
};

std::string metrics_csv(const std::vector<Metrics>& rows);
/// One JSON object a line.
std::string metrics_jsonl(const std::vector<Metrics>& rows);
/// The rows that metrics_jsonl wrote, exactly. Throws Malformed on anything else, and unless they are those
/// of a run: train and test of epoch 1, of epoch 2 and so on, or test of epoch 0 alone.
std::vector<Metrics> parse_metrics(const std::string& jsonl);
/// Reads metrics.jsonl, which has rows. Throws Malformed.
std::vector<Metrics> read_metrics(const std::filesystem::path& jsonl);

}  // namespace evenkeel::app
