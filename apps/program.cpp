#include "program.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <new>
#include <string>

#include "console.h"
#include "evenkeel/base/error.h"
#include "text.h"

namespace evenkeel::app {
namespace {

std::atomic<int> signal_received = 0;
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may use lock-free atomics only");

void note_signal(int number) { signal_received = number; }

void install_signal_handlers() {
  struct sigaction action = {};
  action.sa_handler = note_signal;
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);  // writing to a pipe without a reader is an error like others,
  signal(SIGXFSZ, SIG_IGN);  // and so is a file above the limit of `ulimit -f`
}

/// A standard stream that the caller closed would lend its number to the next file that is opened, and what
/// is printed would go there. It becomes one that cannot be written.
void reserve_standard_streams() {
  for (int file = STDIN_FILENO; file <= STDERR_FILENO; ++file) {
    if (fcntl(file, F_GETFD) == -1) open("/dev/null", O_RDONLY);  // takes the lowest number that is free
  }
}

constexpr const char* kMemoryAdvice =
    "use a smaller --batch-size or --test-batch-size, in bench_norms a smaller --shape";

int report(const char* name, const std::string& message, int exit_code) {
  print_error(fmt::format("{}: {}\n", name, as_one_line(message)));
  return exit_code;
}

}  // namespace

Interrupted::Interrupted(int number, const std::string& stopped_where, std::string_view state)
    : Error(
          fmt::format("stopped by {} {}; {}", number == SIGINT ? "SIGINT" : "SIGTERM", stopped_where, state)),
      signal(number),
      where(stopped_where) {}

void stop_if_signalled(const std::string& where) {
  if (const int number = signal_received) throw Interrupted(number, where);
}

int run_program(const char* name, const std::function<void()>& body) {
  reserve_standard_streams();
  install_signal_handlers();
  try {
    body();
    check_output();
    return kOk;
  } catch (const UsageError& e) {
    return report(name, e.what(), kUsage);
  } catch (const DataError& e) {
    return report(name, e.what(), kDataMissing);
  } catch (const DeviceError& e) {
    return report(name, e.what(), kDeviceMissing);
  } catch (const NonFiniteError& e) {
    return report(name, e.what(), kNonFiniteLoss);
  } catch (const Interrupted& e) {
    return report(name, e.what(), 128 + e.signal);
  } catch (const OutOfMemory& e) {
    return report(name, fmt::format("{}; {}", e.what(), kMemoryAdvice), kFailure);
  } catch (const std::bad_alloc&) {
    return report(name, fmt::format("out of memory; {}", kMemoryAdvice), kFailure);
  } catch (const std::exception& e) {
    return report(name, e.what(), kFailure);
  }
}

}  // namespace evenkeel::app
