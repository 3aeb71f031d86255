// What a reader calls networks and classes.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "report/chart.h"
#include "study.h"

namespace evenkeel::app {

/// The title of a network: "L1 + batch norm".
std::string title_of(const RunOptions& network);
/// One colour a norm, one dash a penalty, in all charts.
Style style_of(const RunOptions& network);
/// The names of the ten classes: "7", or "Sneaker".
std::array<std::string_view, 10> classes_of(const std::string& dataset);
/// Whether a network is better than guessing: more than half of the test images right with its first seed.
bool has_learned(const NetworkResult& network);

}  // namespace evenkeel::app
