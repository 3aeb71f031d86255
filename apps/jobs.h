// Work side by side in child processes.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "program.h"

namespace evenkeel::app {

/// How a job ended.
struct JobEnd {
  int exit_code = 0;     // an ExitCode; 128 + the signal that ended it, if it ended so by itself
  bool crashed = false;  // by a signal, and not asked to stop
  std::string message;   // of its error; "" if there was none
};

/// Calls child(i) for i in [0, count), each in a process of its own that has nothing to print to, `at_once`
/// at a time; started(i) and ended(i, how) in this one, as it happens. No more are started once ended()
/// returns false; those that run go on. A SIGINT or SIGTERM is passed on to all, and when they have ended,
/// thrown as Interrupted. If this process is killed they are too.
void run_jobs(std::size_t count, std::size_t at_once, const std::function<void(std::size_t)>& child,
              const std::function<void(std::size_t)>& started,
              const std::function<bool(std::size_t, const JobEnd&)>& ended);

}  // namespace evenkeel::app
