// The table as text and as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "bench/measure.h"

namespace evenkeel::bench {

/// The table's first line.
std::string title();
/// A row's line.
std::string line(const Row& row, const Result& result, const Machine& machine);
/// A row's line for --list.
std::string list_line(const Row& row);

nlohmann::json json(const Row& row, const Result& result, const Machine& machine);

}  // namespace evenkeel::bench
