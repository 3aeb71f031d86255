// What a study leaves out, so that its figures say less than those of a whole one.
#pragma once

#include <string>
#include <vector>

#include "report/data_files.h"

namespace evenkeel::app {

/// Each a phrase without an end, "1 epoch, not the 20 of the recipe"; none for a whole study with enough
/// seeds for verdicts. Both the page and the console show them.
std::vector<std::string> limits(const Findings& findings);

}  // namespace evenkeel::app
