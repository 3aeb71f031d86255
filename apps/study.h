// A study: its runs, one after another, and what the finished ones say.
#pragma once

#include <string>
#include <vector>

#include "metrics.h"
#include "study_options.h"

namespace evenkeel::app {

/// The runs of the study that are not finished yet; says how many finished ones are used again. Throws
/// UsageError if a directory holds something else.
std::vector<RunOptions> runs_to_do(const StudyOptions& study);

/// A line of predictions.csv.
struct Prediction {
  int label = 0, predicted = 0;
  double p_label = 0, p_predicted = 0;

  bool right() const { return label == predicted; }
};

/// Of the final values of one kind of parameters: "conv" for the convolutions, "gamma" and "beta" for the
/// norms.
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

  double test_loss() const { return rows.back().loss; }
  double accuracy_percent() const { return 100 * rows.back().accuracy; }
  std::int64_t misclassified() const;
  /// The median training time of an epoch.
  double seconds_per_epoch() const;
};

struct NetworkResult {
  RunOptions network;
  std::vector<RunResult> runs;  // one a seed

  std::string name() const { return network.network(); }
  /// One value of each run: of(&RunResult::test_loss).
  template <typename T>
  std::vector<double> of(T (RunResult::*value)() const) const {
    std::vector<double> all;
    for (const RunResult& run : runs) all.push_back(static_cast<double>((run.*value)()));
    return all;
  }
};

struct StudyResults {
  StudyOptions study;
  std::vector<NetworkResult> networks;
  std::vector<NetworkResult> batch_networks;
};

/// Reads the directories of all runs, which are finished. Throws DataError, naming the file and what to do,
/// if one there is damaged.
StudyResults read_results(const StudyOptions& study);

}  // namespace evenkeel::app
