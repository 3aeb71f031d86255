// The page that shows a study.
#pragma once

#include <string>

#include "nn/data.h"
#include "report/sections.h"

namespace evenkeel::app {

/// report/index.html: one file that needs no other.
std::string page(const Findings& findings, const Pictures& pictures, const data::Dataset& test);

/// A chart as a file of its own, in the colours of a light page.
std::string standalone_svg(const Picture& picture);

}  // namespace evenkeel::app
