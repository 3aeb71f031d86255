// The CSV files behind a report: every figure of the page can be computed again from them.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "comparison.h"
#include "diagnosis.h"

namespace evenkeel::app {

/// What a report tells.
struct Findings {
  StudyResults results;
  std::vector<Comparison> comparisons, batch_comparisons;  // they point into results
  std::vector<Diagnosis> diagnosis;
};

/// A figure of a network that is summarised, its name in files, and what it can be.
struct Metric {
  const char* name;
  double (*of)(const RunResult& run);
  Bounds (*bounds)(const RunResult& run);
};
extern const Metric kTestLoss, kAccuracyPercent, kMisclassified;
Summary summarize(const NetworkResult& network, const Metric& metric);

constexpr std::size_t kClasses = 10;
/// Counts by label and prediction, over all seeds.
using Confusion = std::array<std::array<std::int64_t, kClasses>, kClasses>;
Confusion confusion(const NetworkResult& network);

/// How many parameters of one kind ("conv", "gamma", "beta") are zero or small, and their L1 norm: means over
/// the seeds.
struct ParameterFractions {
  double zero_percent = 0, small_percent = 0, l1 = 0;
};
/// Nothing where the network has none.
std::optional<ParameterFractions> mean_fractions(const NetworkResult& network, std::string_view kind);

/// The names of the files, of which every report has all.
inline constexpr std::array<std::string_view, 8> kDataFiles = {
    "runs.csv",          "curves.csv",    "networks.csv", "comparisons.csv",
    "misclassified.csv", "confusion.csv", "weights.csv",  "diagnosis.csv"};

/// The content of each file.
std::map<std::string, std::string> data_files(const Findings& findings);

}  // namespace evenkeel::app
