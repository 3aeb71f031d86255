// A study: several networks, several seeds each, one run after another.
#pragma once

#include <string>
#include <vector>

#include "options.h"

namespace evenkeel::app {

/// The runs of the study that are not finished yet; says which finished ones are used again. Throws
/// UsageError if a directory holds a run with other options, or something else.
std::vector<RunOptions> runs_to_do(const StudyOptions& study);

/// Mean and sample standard deviation (NaN for one value) over the seeds.
struct Statistic {
  double mean = 0, std = 0;
};

/// What the finished runs of one network say.
struct NetworkSummary {
  RunOptions run;  // of the first seed
  int seeds = 0;
  Statistic loss, accuracy, misclassified;  // on the test set, final weights; accuracy in %
  Statistic seconds;                        // median training time of an epoch
};

/// Reads the run directories. Throws Error if a file there cannot be read.
std::vector<NetworkSummary> summarize(const StudyOptions& study);
std::string summary_csv(const std::vector<NetworkSummary>& networks);
/// A table to print, beside the figures of the study's reference.
std::string summary_table(const std::vector<NetworkSummary>& networks);

}  // namespace evenkeel::app
