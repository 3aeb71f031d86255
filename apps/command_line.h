// How all programs read their command lines: strictly, one way for all options.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "program.h"

namespace evenkeel::app {

/// The largest count that an option takes: no product of two of them overflows, in images or in steps.
inline constexpr std::int64_t kMostCount = 1'000'000;
/// The largest number of steps that an option takes.
inline constexpr std::int64_t kMostSteps = 1'000'000'000'000;

/// Sets what all programs have in common; to be called before options are added.
void set_conventions(CLI::App& app);

/// The number that the whole of `text` is, in decimal digits, from `least` to `most`: no other base, no
/// blanks, no plus sign, nothing that would be rounded into the range, no NaN. Throws Error that says what is
/// wanted. T: int, std::int64_t, std::uint64_t or double.
template <typename T>
T parse_number(std::string_view text, T least, T most);

/// The parts of "a,b,c". Throws Error if one is empty.
std::vector<std::string> split_list(const std::string& text);

/// What `parse_one` reads of each part of "a,b,c". Throws Error if two are the same.
template <typename F>
auto parse_list(const std::string& text, F parse_one) {
  std::vector<decltype(parse_one(text))> all;
  for (const std::string& part : split_list(text)) {
    const auto one = parse_one(part);
    EK_CHECK(std::count(all.begin(), all.end(), one) == 0, "{} is named twice", part);
    all.push_back(one);
  }
  return all;
}

/// An option whose text `parse` reads; its Errors are about usage.
CLI::Option* add_parsed(CLI::App& app, const std::string& name,
                        const std::function<void(const std::string&)>& parse, const std::string& description,
                        const std::string& default_text);
/// An option that is a number, as parse_number reads it. --help shows the default that `value` has.
template <typename T>
CLI::Option* add_number(CLI::App& app, const std::string& name, T& value, T least, T most,
                        const std::string& description);
/// An option that is a finite number; what it must be beyond that, complete() says.
CLI::Option* add_real(CLI::App& app, const std::string& name, double& value, const std::string& description);
/// An option that names a file or a folder, in any bytes, but at least one.
CLI::Option* add_path(CLI::App& app, const std::string& name, std::filesystem::path& value,
                      const std::string& description);
/// An option without a value.
CLI::Option* add_switch(CLI::App& app, const std::string& name, bool& value, const std::string& description);
/// --threads, which all programs have.
void add_threads(CLI::App& app, int& threads);

/// Reads the command line into what `app` is bound to. False if --help or --version was printed instead.
/// Throws UsageError, also if OMP_NUM_THREADS, EVENKEEL_POISON or EVENKEEL_MAX_CPU_ISA is set to what it
/// cannot be.
bool parse(CLI::App& app, int argc, char** argv);

/// Throw UsageError, naming the option and what it must be.
template <typename T>
void require(bool good, const char* option, T value, std::string_view wanted) {
  if (!good) fail<UsageError>("{} {}: must be {}", option, value, wanted);
}
template <typename T>
void require_positive(const char* option, T value) {
  require(value > 0 && std::isfinite(static_cast<double>(value)), option, value, "above 0");
}
template <typename T>
void require_not_negative(const char* option, T value) {
  require(value >= 0 && std::isfinite(static_cast<double>(value)), option, value, "0 or above");
}

}  // namespace evenkeel::app
