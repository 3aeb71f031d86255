// The study's questions, each answered from its figures.
#pragma once

#include <string>
#include <vector>

#include "report/data_files.h"

namespace evenkeel::app {

struct Answer {
  std::string question;
  std::string html;  ///< one or more paragraphs
};

/// Those that the study has the networks for; the others say what to run.
std::vector<Answer> answers(const Findings& findings);

/// "a is more accurate", "no difference shown", "not enough seeds to tell", "not tested: ...".
std::string verdict_text(const Comparison& comparison);

/// The key by which pages and data name a figure of a comparison, a network or a diagnosis.
std::string key_of(const Comparison& comparison, const char* part, const char* column);

}  // namespace evenkeel::app
