// What a program has at its edges: exit codes, errors of its own, signals.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "evenkeel/base/error.h"

namespace evenkeel::app {

/// After SIGINT or SIGTERM the exit code is 128 + the signal's number.
enum ExitCode : int {
  kOk = 0,
  kFailure = 1,
  kUsage = 2,
  kDataMissing = 3,    // or failing its checksum
  kDeviceMissing = 4,  // asked for and not there
  kNonFiniteLoss = 5,
};

/// Options that cannot be used.
struct UsageError : Error {
  using Error::Error;
};

/// A loss that is NaN or infinite.
struct NonFiniteError : Error {
  using Error::Error;
};

/// A SIGINT or SIGTERM that was acted upon.
struct Interrupted : Error {
  /// `state`: what becomes of the run.
  Interrupted(int number, const std::string& where, std::string_view state = "the run is not finished");
  int signal;
  std::string where;
};

/// How a body of work ended.
struct Outcome {
  int exit_code = kOk;
  std::string message;  // of the error, one line; "" if there was none
};
Outcome outcome_of(const std::function<void()>& body);

/// Runs `body` and returns the exit code. An error becomes one line on stderr, "NAME: what is wrong: what to
/// do", and the exit code says so even where stderr cannot be written. A stdout that cannot be written ends
/// nothing, but the exit code is 1 then. From here on SIGINT and SIGTERM only leave a note, a second one of
/// either kills.
int run_program(const char* name, const std::function<void()>& body);

/// The SIGINT or SIGTERM that there was, or 0.
int signal_received();
/// Throws Interrupted if there was a signal. Called between steps, where nothing is half done.
void stop_if_signalled(const std::string& where);

}  // namespace evenkeel::app
