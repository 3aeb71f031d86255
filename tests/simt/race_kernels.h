#pragma once

#include <vector>

/// A kernel that must run clean, and a version with a race, or another fault, that the race detector must
/// report.
struct RaceCase {
  const char* name;
  void (*run)(bool with_race);  ///< throws simt::Failure
  const char* expected;         ///< part of the report; null if there is no version with a race
};

std::vector<RaceCase> shared_memory_cases();
std::vector<RaceCase> global_memory_cases();
