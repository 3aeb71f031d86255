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

std::atomic<int> last_signal = 0;
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may use lock-free atomics only");

void note_signal(int number) { last_signal = number; }

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

}  // namespace

Interrupted::Interrupted(int number, const std::string& stopped_where, std::string_view state)
    : Error(
          fmt::format("stopped by {} {}; {}", number == SIGINT ? "SIGINT" : "SIGTERM", stopped_where, state)),
      signal(number),
      where(stopped_where) {}

int signal_received() { return last_signal; }

void stop_if_signalled(const std::string& where) {
  if (const int number = last_signal) throw Interrupted(number, where);
}

Outcome outcome_of(const std::function<void()>& body) {
  const auto failed = [](int exit_code, const std::string& message) {
    return Outcome{exit_code, as_one_line(message)};
  };
  try {
    body();
    return {};
  } catch (const UsageError& e) {
    return failed(kUsage, e.what());
  } catch (const DataError& e) {
    return failed(kDataMissing, e.what());
  } catch (const DeviceError& e) {
    return failed(kDeviceMissing, e.what());
  } catch (const NonFiniteError& e) {
    return failed(kNonFiniteLoss, e.what());
  } catch (const Interrupted& e) {
    return failed(128 + e.signal, e.what());
  } catch (const OutOfMemory& e) {
    return failed(kFailure, fmt::format("{}; {}", e.what(), kMemoryAdvice));
  } catch (const std::bad_alloc&) {
    return failed(kFailure, fmt::format("out of memory; {}", kMemoryAdvice));
  } catch (const std::exception& e) {
    return failed(kFailure, e.what());
  }
}

int run_program(const char* name, const std::function<void()>& body) {
  reserve_standard_streams();
  install_signal_handlers();
  const Outcome outcome = outcome_of([&] {
    body();
    check_output();
  });
  if (outcome.exit_code != kOk) print_error(fmt::format("{}: {}\n", name, outcome.message));
  return outcome.exit_code;
}

}  // namespace evenkeel::app
