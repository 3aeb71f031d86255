#include "text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace evenkeel::app {
namespace {

/// The bytes of the code point at the start of `bytes`; 0 if there is none in UTF-8.
std::size_t code_point_bytes(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC0 || first >= 0xF8 || bytes.size() < length) return 0;
  std::uint32_t code = first & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3FU);
  }
  constexpr std::uint32_t kFirstOfLength[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = 0xD800 <= code && code < 0xE000;
  return code < kFirstOfLength[length] || surrogate || code > 0x10FFFF ? 0 : length;
}

}  // namespace

std::string as_utf8(std::string_view bytes) {
  std::string escaped;
  bool is_utf8 = true;
  for (std::string_view left = bytes; !left.empty();) {
    const std::size_t length = code_point_bytes(left);
    if (length == 0) {
      is_utf8 = false;
      escaped += fmt::format("\\x{:02X}", static_cast<std::uint8_t>(left[0]));
    } else {
      escaped += left[0] == '\\' ? "\\\\" : left.substr(0, length);
    }
    left.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return is_utf8 ? std::string(bytes) : escaped;
}

std::string as_one_line(std::string text) {
  const auto is_control = [](char c) { return (0 <= c && c < ' ') || c == '\x7f'; };
  std::replace_if(text.begin(), text.end(), is_control, ' ');
  return text;
}

}  // namespace evenkeel::app
