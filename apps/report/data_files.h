// The CSV files behind a report: every figure of the page can be computed again from them.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
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

/// The three figures of a network that are summarised, and their names in files.
struct Metric {
  const char* name;
  double (*of)(const RunResult& run);
};
const std::vector<Metric>& metrics_of_a_run();
Summary summarize(const NetworkResult& network, const Metric& metric);

constexpr std::size_t kClasses = 10;
/// Counts by label and prediction, over all seeds.
using Confusion = std::array<std::array<std::int64_t, kClasses>, kClasses>;
Confusion confusion(const NetworkResult& network);

/// Of one kind of parameters ("conv", "gamma", "beta"), means over the seeds.
struct ParameterFractions {
  double zero_percent = 0, small_percent = 0, l1 = 0;
};
/// Nothing where the network has none.
std::optional<ParameterFractions> mean_fractions(const NetworkResult& network, std::string_view kind);

/// The content of each file: "runs.csv", "curves.csv", ...
std::map<std::string, std::string> data_files(const Findings& findings);

}  // namespace evenkeel::app
