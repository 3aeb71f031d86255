// The page that shows a study.
#pragma once

#include <string>
#include <string_view>

#include "evenkeel/nn/data.h"
#include "report/sections.h"

namespace evenkeel::app {

/// report/index.html: one file that needs no other.
std::string page(const Findings& findings, const Pictures& pictures, const data::Dataset& test);

/// What index.html is until the rest of its report is written.
std::string unfinished_page();

/// True if an index.html that begins like this is one of these, of this version or an earlier one.
bool is_page(std::string_view begin);

/// A chart as a file of its own, in the colours of a light page.
std::string standalone_svg(const Picture& picture);

}  // namespace evenkeel::app
