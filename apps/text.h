// Text from outside, which may be any bytes: made fit for files and lines of ours.
#pragma once

#include <string>
#include <string_view>

namespace evenkeel::app {

/// Text in UTF-8 as it is. In any other, for example a path in Latin-1, each byte that is no UTF-8 becomes
/// "\xE9", and a backslash "\\".
std::string as_utf8(std::string_view bytes);

/// An argument as a POSIX shell reads it, in quotes where it needs them, in bash's $'...' where it has
/// control characters or bytes that are no UTF-8.
std::string shell_quoted(std::string_view argument);

/// One line that a terminal shows as it is: each control character of ASCII, a line break for example,
/// becomes a space; others, and what turns the direction of text, "\u202E".
std::string as_one_line(std::string_view text);

}  // namespace evenkeel::app
