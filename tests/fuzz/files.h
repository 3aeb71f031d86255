// What the targets share: files in memory, and the two ways in which a reader may end.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "evenkeel/base/error.h"
#include "fuzz/targets.h"

namespace evenkeel::fuzz {

/// A file of these bytes, in a folder of this process's own.
std::filesystem::path file_of(std::string_view bytes, const char* name = "file");
/// The file beside it, to which a target writes.
std::filesystem::path written_file();

inline void require(bool condition, std::string_view what) {
  if (!condition) throw Broken(std::string(what));
}

/// read(), or nothing if it refuses, as it should, with one line. Any other exception goes on.
template <typename Refusal = DataError, typename F>
auto accepted(F read) -> std::optional<decltype(read())> {
  try {
    return read();
  } catch (const Refusal& e) {
    const std::string_view message = e.what();
    require(!message.empty() && message.find('\n') == std::string_view::npos,
            fmt::format("not one line: {}", message));
    require(message.size() < 2000, fmt::format("a message of {} bytes", message.size()));
    return std::nullopt;
  }
}

}  // namespace evenkeel::fuzz
