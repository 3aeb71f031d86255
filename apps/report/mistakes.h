// The test images that networks get wrong.
#pragma once

#include <string>
#include <vector>

#include "evenkeel/nn/data.h"
#include "study.h"

namespace evenkeel::app {

/// Images that all, or any, of the networks that learn get wrong with their first seed; in order.
struct SharedMistakes {
  std::vector<std::int64_t> by_every, by_any;
};
SharedMistakes shared_mistakes(const std::vector<NetworkResult>& networks);

/// The mean over the seeds of the misclassified images of each label.
std::vector<double> mistakes_by_label(const NetworkResult& network);

/// The grid of misclassified images with its filters, drawn by script.js, mistakes by label, and confusion
/// matrices.
std::string mistakes_section(const StudyResults& results, const data::Dataset& test);

}  // namespace evenkeel::app
