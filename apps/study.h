// A study: its runs, one after another, and what the finished ones say.
#pragma once

#include <string>
#include <vector>

#include "evenkeel/nn/data.h"
#include "metrics.h"
#include "predictions.h"
#include "study_options.h"

namespace evenkeel::app {

/// The runs of the study that are not finished yet; says how many finished ones are used again. Throws
/// UsageError if a directory holds something else or another program works in it, also if its turn would come
/// last.
std::vector<RunOptions> runs_to_do(const StudyOptions& study);

/// Counts of the final values of one kind of parameters: "conv" for the convolutions, "gamma" and "beta" for
/// the norms.
struct ParameterCounts {
  std::string kind;
  std::int64_t count = 0;
  std::int64_t zero = 0;   // exactly 0
  std::int64_t small = 0;  // |p| < 1e-3
  double l1 = 0;           // sum |p|
};

struct RunResult {
  RunOptions run;
  std::vector<Metrics> rows;            // the last one is of the test set, with the final weights
  std::vector<Prediction> predictions;  // of all test images, in order
  std::vector<ParameterCounts> parameters;
  nlohmann::json config = nlohmann::json::object();  // what it was made with, in config.json

  double test_loss() const { return rows.back().loss; }
  double accuracy_percent() const { return 100 * rows.back().accuracy; }
  std::int64_t misclassified() const;
  /// The median training time of an epoch.
  double seconds_per_epoch() const;
};

struct NetworkResult {
  RunOptions network;
  std::vector<RunResult> runs;  // one a seed, at least one

  std::string name() const { return network.network(); }
  /// One value of each run: of(&RunResult::test_loss).
  template <typename T>
  std::vector<double> of(T (RunResult::*value)() const) const {
    std::vector<double> all;
    for (const RunResult& run : runs) all.push_back(static_cast<double>((run.*value)()));
    return all;
  }
};

/// A run whose loss became NaN or infinite, and what was said of it.
struct FailedRun {
  RunOptions run;
  std::string why;
};

/// Networks have the runs that did not fail; those of which all failed are left out.
struct StudyResults {
  StudyOptions study;
  std::vector<NetworkResult> networks;
  std::vector<NetworkResult> batch_networks;
  std::vector<FailedRun> failed;
};

/// Reads the directories of all runs but those that failed; the others are finished. Throws DataError, naming
/// the file and what to do, if one there is damaged, or is not of these test images.
StudyResults read_results(const StudyOptions& study, const std::vector<FailedRun>& failed,
                          const data::Dataset& test);

}  // namespace evenkeel::app
