#include "command_line.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <sstream>
#include <type_traits>

#include "console.h"
#include "evenkeel/kernels/isa.h"
#include "text.h"

namespace evenkeel::app {
namespace {

constexpr int kMostThreads = 1024;

/// Throws UsageError if the variable is set to what is no such number. In a list the first one counts.
void check_number_of_environment(const char* name, bool may_be_list, int least, int most) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return;
  try {
    parse_number<int>(may_be_list ? split_list(text).front() : text, least, most);
  } catch (const Error& e) {
    fail<UsageError>("{} {}; set it to one or unset it", name, e.what());
  }
}

/// The variables that the library reads by itself, some of them late and without a word.
void check_environment() {
  check_number_of_environment("OMP_NUM_THREADS", true, 1, kMostThreads);
  check_number_of_environment("EVENKEEL_POISON", false, 0, 255);
  try {
    cpu::isa();
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
}

/// CLI11 takes the next argument for the value of "--option=".
void refuse_empty_values(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--") && argument.find('=') == argument.size() - 1)
      fail<UsageError>("{} has no value; see --help", argument);
  }
}

/// What to call an option whose value cannot be used: its name or, where the command line does not have it,
/// the variable that the value is from.
std::string source_of(const CLI::App& app, const std::string& name) {
  const CLI::Option* option = app.get_option(name);
  const std::vector<CLI::Option*>& given = app.parse_order();
  const bool is_given = std::find(given.begin(), given.end(), option) != given.end();
  return is_given || option->get_envname().empty() ? name : option->get_envname();
}

/// An option whose text `read` reads. The name and `between` come before what its Errors say.
CLI::Option* add_text(CLI::App& app, const std::string& name, const char* between,
                      const std::function<void(const std::string&)>& read, const std::string& description) {
  const auto read_or_refuse = [=, &app](const std::string& text) {
    try {
      read(text);
    } catch (const Error& e) {
      fail<UsageError>("{}{}{}", source_of(app, name), between, e.what());
    }
  };
  return app.add_option_function<std::string>(name, read_or_refuse, description);
}

}  // namespace

template <typename T>
T parse_number(std::string_view text, T least, T most) {
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool is_whole = error == std::errc() && end == text.data() + text.size();
  if (is_whole && least <= value && value <= most) return value;  // false for NaN
  const bool needs_quotes = text.empty() || text.find(' ') != std::string_view::npos;
  const std::string shown = needs_quotes ? fmt::format("'{}'", as_utf8(text)) : as_utf8(text);
  if (static_cast<double>(most) == std::numeric_limits<double>::max())
    fail("{}: must be a finite number", shown);
  const char* kind = std::is_floating_point_v<T> ? "a number" : "an integer";
  fail("{}: must be {} from {} to {}", shown, kind, least, most);
}
template int parse_number(std::string_view, int, int);
template std::int64_t parse_number(std::string_view, std::int64_t, std::int64_t);
template std::uint64_t parse_number(std::string_view, std::uint64_t, std::uint64_t);
template double parse_number(std::string_view, double, double);

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == ',') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  const bool has_gap = std::any_of(parts.begin(), parts.end(), [](const auto& part) { return part.empty(); });
  EK_CHECK(!has_gap, "'{}' has an empty part: give one or more values, separated by single commas",
           as_utf8(text));
  return parts;
}

CLI::Option* add_parsed(CLI::App& app, const std::string& name,
                        const std::function<void(const std::string&)>& parse, const std::string& description,
                        const std::string& default_text) {
  return add_text(app, name, ": ", parse, description)->default_str(default_text);
}

template <typename T>
CLI::Option* add_number(CLI::App& app, const std::string& name, T& value, T least, T most,
                        const std::string& description) {
  const auto read = [&value, least, most](const std::string& text) {
    value = parse_number<T>(text, least, most);
  };
  const char* type = std::is_floating_point_v<T> ? "FLOAT" : "INT";
  return add_text(app, name, " ", read, description)->default_str(fmt::format("{}", value))->type_name(type);
}
template CLI::Option* add_number(CLI::App&, const std::string&, int&, int, int, const std::string&);
template CLI::Option* add_number(CLI::App&, const std::string&, std::int64_t&, std::int64_t, std::int64_t,
                                 const std::string&);
template CLI::Option* add_number(CLI::App&, const std::string&, std::uint64_t&, std::uint64_t, std::uint64_t,
                                 const std::string&);
template CLI::Option* add_number(CLI::App&, const std::string&, double&, double, double, const std::string&);

CLI::Option* add_real(CLI::App& app, const std::string& name, double& value, const std::string& description) {
  constexpr double kMost = std::numeric_limits<double>::max();
  return add_number(app, name, value, -kMost, kMost, description);
}

CLI::Option* add_path(CLI::App& app, const std::string& name, std::filesystem::path& value,
                      const std::string& description) {
  const auto read = [&value](const std::string& text) {
    EK_CHECK(!text.empty(), "the name is empty");
    value = text;
  };
  return add_parsed(app, name, read, description, value.string());
}

CLI::Option* add_switch(CLI::App& app, const std::string& name, bool& value, const std::string& description) {
  return app.add_flag(name, value, description)->disable_flag_override();
}

void add_threads(CLI::App& app, int& threads) {
  add_number(app, "--threads", threads, 0, kMostThreads, "CPU threads; 0: OMP_NUM_THREADS, or one per core");
}

void set_conventions(CLI::App& app) {
  app.option_defaults()->always_capture_default()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", std::string("Evenkeel ") + EVENKEEL_VERSION);
  app.get_formatter()->column_width(38);
}

bool parse(CLI::App& app, int argc, char** argv) {
  refuse_empty_values(argc, argv);
  const auto asks_for_help = [&] { return app.get_help_ptr()->count() > 0; };
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    std::ostringstream text;
    app.exit(e, text, text);
    print_text(text.str());
    return false;
  } catch (const CLI::ParseError& e) {
    if (!asks_for_help()) fail<UsageError>("{}; see --help", as_utf8(e.what()));
  } catch (const UsageError&) {
    if (!asks_for_help()) throw;
  }
  if (asks_for_help()) {  // CLI11 reads the values first, those of variables too
    print_text(app.help());
    return false;
  }
  check_environment();
  return true;
}

}  // namespace evenkeel::app
