#include "program.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <new>
#include <string>

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
}

int report(const char* name, std::string message, int exit_code) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  std::fflush(stdout);
  fmt::print(stderr, "{}: {}\n", name, message);
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
  install_signal_handlers();
  try {
    body();
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
      fail("cannot write to standard output: is the disk full?");
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
  } catch (const std::bad_alloc&) {
    return report(name, "out of memory: use smaller batches", kFailure);
  } catch (const std::exception& e) {
    return report(name, e.what(), kFailure);
  }
}

}  // namespace evenkeel::app
