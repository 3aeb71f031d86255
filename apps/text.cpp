#include "text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace evenkeel::app {
namespace {

struct CodePoint {
  std::size_t bytes = 0;  // 0: none in UTF-8
  std::uint32_t code = 0;
};

/// The code point at the start of `bytes`.
CodePoint first_of(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return {1, first};
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC0 || first >= 0xF8 || bytes.size() < length) return {};
  std::uint32_t code = first & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3FU);
  }
  constexpr std::uint32_t kFirstOfLength[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = 0xD800 <= code && code < 0xE000;
  if (code < kFirstOfLength[length] || surrogate || code > 0x10FFFF) return {};
  return {length, code};
}

/// Calls use(code point, its bytes) for each; what is none in UTF-8 is a byte.
template <typename F>
void for_code_points(std::string_view text, const F& use) {
  while (!text.empty()) {
    const CodePoint point = first_of(text);
    const std::size_t bytes = std::max<std::size_t>(point.bytes, 1);
    use(point, text.substr(0, bytes));
    text.remove_prefix(bytes);
  }
}

std::string escaped_bytes(std::string_view bytes) {
  std::string escaped;
  for (const char c : bytes) escaped += fmt::format("\\x{:02X}", static_cast<std::uint8_t>(c));
  return escaped;
}

/// True for what a terminal obeys and does not show: control characters, separators of lines, and what turns
/// the direction of the text that follows.
bool is_control(std::uint32_t code) {
  const auto within = [code](std::uint32_t first, std::uint32_t last) {
    return first <= code && code <= last;
  };
  return code < ' ' || within(0x7F, 0x9F) || code == 0x61C || within(0x200E, 0x200F) ||
         within(0x2028, 0x202E) || within(0x2066, 0x2069);
}

}  // namespace

std::string as_utf8(std::string_view bytes) {
  std::string escaped;
  bool is_utf8 = true;
  for_code_points(bytes, [&](CodePoint point, std::string_view its_bytes) {
    if (point.bytes == 0) is_utf8 = false;
    escaped += point.bytes == 0     ? escaped_bytes(its_bytes)
               : point.code == '\\' ? "\\\\"
                                    : std::string(its_bytes);
  });
  return is_utf8 ? std::string(bytes) : escaped;
}

std::string shell_quoted(std::string_view argument) {
  constexpr std::string_view kPlain =
      "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ%+,-./:=@_";
  if (!argument.empty() && argument.find_first_not_of(kPlain) == std::string_view::npos)
    return std::string(argument);
  bool is_text = true;
  std::string quoted, escaped;
  for_code_points(argument, [&](CodePoint point, std::string_view bytes) {
    const bool quote = point.code == '\'';
    quoted += quote ? "'\\''" : std::string(bytes);
    if (point.bytes == 0 || is_control(point.code)) {
      is_text = false;
      escaped += escaped_bytes(bytes);
    } else {
      if (quote || point.code == '\\') escaped += '\\';
      escaped += bytes;
    }
  });
  return is_text ? fmt::format("'{}'", quoted) : fmt::format("$'{}'", escaped);
}

std::string as_one_line(std::string_view text) {
  std::string line;
  for_code_points(text, [&](CodePoint point, std::string_view bytes) {
    if (point.bytes == 0 || !is_control(point.code)) {
      line += bytes;
    } else {
      line += point.code < 0x80 ? " " : fmt::format("\\u{:04X}", point.code);
    }
  });
  return line;
}

}  // namespace evenkeel::app
