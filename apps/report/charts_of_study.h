// The charts of a report.
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>

#include "report/data_files.h"

namespace evenkeel::app {

/// A chart as an <svg> element, with its title.
struct Picture {
  std::string name, title, svg;
};

using Pictures = std::map<std::string, Picture>;  ///< by name

/// The names of all charts that a report can have.
inline constexpr std::array<std::string_view, 9> kChartNames = {
    "test-loss",  "test-accuracy", "test-loss-learned", "test-accuracy-learned", "train-loss", "accuracy",
    "batch-size", "logits",        "gradients"};

/// The charts for which the study has figures.
Pictures charts_of_study(const Findings& findings);

}  // namespace evenkeel::app
