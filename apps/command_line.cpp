#include "command_line.h"

#include "program.h"

namespace evenkeel::app {

CLI::Option* add_parsed(CLI::App& app, std::string name, std::function<void(const std::string&)> parse,
                        const std::string& description, const std::string& default_text) {
  const auto read = [=](const std::string& text) {
    try {
      parse(text);
    } catch (const Error& e) {
      fail<UsageError>("{}: {}", name, e.what());
    }
  };
  return app.add_option_function<std::string>(name, read, description)->default_str(default_text);
}

void set_conventions(CLI::App& app) {
  app.option_defaults()->always_capture_default()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", std::string("Evenkeel ") + EVENKEEL_VERSION);
  app.get_formatter()->column_width(38);
}

bool parse(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return true;
  } catch (const CLI::Success& e) {
    app.exit(e);
    return false;
  } catch (const CLI::ParseError& e) {
    fail<UsageError>("{}; see --help", e.what());
  }
}

}  // namespace evenkeel::app
