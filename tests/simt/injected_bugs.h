#pragma once

#include <vector>

/// A kernel in two versions, and the host code that runs it and checks its numbers.
struct InjectedBug {
  const char* name;
  /// Throws simt::Failure, ends the process, or returns false for wrong numbers.
  bool (*run)(bool with_bug);
};

/// Bug N of injected_bugs.cpp is element N - 1.
std::vector<InjectedBug> injected_bugs();
