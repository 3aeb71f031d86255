// How all programs read their command lines.
#pragma once

#include <CLI/CLI.hpp>
#include <cmath>
#include <functional>
#include <string>
#include <string_view>

#include "program.h"

namespace evenkeel::app {

/// Before the options are added.
void set_conventions(CLI::App& app);

/// An option whose text `parse` reads; its Errors are about usage.
CLI::Option* add_parsed(CLI::App& app, std::string name, std::function<void(const std::string&)> parse,
                        const std::string& description, const std::string& default_text);

/// Reads the command line into what `app` is bound to. False if --help or --version was printed instead.
/// Throws UsageError.
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
