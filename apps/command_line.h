// How all programs read their command lines.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace evenkeel::app {

/// Before the options are added.
void set_conventions(CLI::App& app);

/// An option whose text `parse` reads; its Errors are about usage.
CLI::Option* add_parsed(CLI::App& app, std::string name, std::function<void(const std::string&)> parse,
                        const std::string& description, const std::string& default_text);

/// Reads the command line into what `app` is bound to. False if --help or --version was printed instead.
/// Throws UsageError.
bool parse(CLI::App& app, int argc, char** argv);

}  // namespace evenkeel::app
