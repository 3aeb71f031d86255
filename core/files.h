// Files that are either there, whole, or not there.
#pragma once

#include <filesystem>
#include <functional>
#include <iosfwd>

namespace evenkeel {

/// Calls write(stream) on a file beside `file` and renames it: whoever is killed or fails leaves no half of a
/// file, and an older `file` untouched. Throws Error, with the reason, if it cannot be written.
void write_file_atomically(const std::filesystem::path& file,
                           const std::function<void(std::ostream&)>& write);

}  // namespace evenkeel
