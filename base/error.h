// Errors thrown by the library. Every message is one line: what is wrong, and what to do about it.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stdexcept>
#include <string>

namespace evenkeel {

/// Base of every error this library throws: a wrong shape, dtype or use.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Data that is missing, malformed, or fails its checksum.
struct DataError : Error {
  using Error::Error;
};

/// A device that was asked for and is not there.
struct DeviceError : Error {
  using Error::Error;
};

/// Memory, of the CPU or of a device, that was asked for and is not there.
struct OutOfMemory : Error {
  using Error::Error;
};

/// Throws E with a fmt-formatted message.
template <typename E = Error, typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw E(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace evenkeel

/// Throws Error with a fmt-formatted sentence unless `condition` holds. NaN fails: write EK_CHECK(err <= tol,
/// ...).
#define EK_CHECK(condition, ...)                     \
  do {                                               \
    if (!(condition)) ::evenkeel::fail(__VA_ARGS__); \
  } while (false)
