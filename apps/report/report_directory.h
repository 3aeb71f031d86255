// The folder that a report is written to: what may be there before.
#pragma once

#include <filesystem>
#include <set>
#include <string>

namespace evenkeel::app {

inline constexpr const char* kPageFile = "index.html";

/// Throws UsageError unless there is nothing, an empty folder, or a report of this program, whole or not,
/// that has no links and nothing else but files where files are written; Error if it cannot be read or
/// written.
void check_report_directory(const std::filesystem::path& report);

/// Removes the half-written files that a kill has left. Other files stay. Throws Error if that fails.
void remove_half_written(const std::filesystem::path& report);

/// Removes the charts of an earlier report, but for these: "accuracy.svg". Other files stay. Throws Error if
/// that fails.
void remove_charts(const std::filesystem::path& report, const std::set<std::string>& kept);

}  // namespace evenkeel::app
