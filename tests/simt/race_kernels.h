#pragma once

#include <vector>

/// A kernel that must run clean, and a version with a race, or another fault, that the race detector must
/// report.
struct RaceCase {
  const char* name;
  void (*run)(bool with_race);  ///< throws simt::Failure
  const char* expected;         ///< part of the report; null if there is no version with a race
};

#define RACE_CASE(name, run, expected)                                             \
  RaceCase {                                                                       \
    name, [](bool with_race) { with_race ? run<true>() : run<false>(); }, expected \
  }
#define RACE_CASE_OF(name, run, T, expected)                                             \
  RaceCase {                                                                             \
    name, [](bool with_race) { with_race ? run<T, true>() : run<T, false>(); }, expected \
  }

std::vector<RaceCase> shared_memory_cases();
std::vector<RaceCase> global_memory_cases();
std::vector<RaceCase> grid_group_cases();
std::vector<RaceCase> cluster_cases();
