// The sections of a page, but for the answers and the mistakes: each a table, charts and what to know about
// them.
#pragma once

#include <string>
#include <vector>

#include "report/charts_of_study.h"

namespace evenkeel::app {

std::string networks_section(const Findings& findings, const Pictures& pictures);
std::string curves_section(const Pictures& pictures);
std::string comparisons_section(const Findings& findings);
std::string penalty_section(const StudyResults& results);
/// Empty where the study has no batch sizes.
std::string batch_section(const Findings& findings, const Pictures& pictures);
std::string diagnosis_section(const std::vector<Diagnosis>& diagnosis, const Pictures& pictures);

}  // namespace evenkeel::app
