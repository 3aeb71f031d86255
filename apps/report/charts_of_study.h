// The charts of a report.
#pragma once

#include <map>
#include <string>

#include "report/data_files.h"

namespace evenkeel::app {

/// A chart as an <svg> element, with its title.
struct Picture {
  std::string name, title, svg;
};

using Pictures = std::map<std::string, Picture>;  ///< by name

/// Those for which the study has figures: "test-loss", "test-accuracy", "test-loss-learned",
/// "test-accuracy-learned", "train-loss", "accuracy", "batch-size", "logits", "gradients".
Pictures charts_of_study(const Findings& findings);

}  // namespace evenkeel::app
