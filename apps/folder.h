// What is in a folder, and the removal of it: links are seen as links, not as what they point to.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace evenkeel::app {

/// The names of a folder's entries, sorted; none if it is not there. Throws Error if it cannot be read.
std::vector<std::string> names_in(const std::filesystem::path& folder);

/// True if there is a file, and nothing else, of that name.
bool is_regular(const std::filesystem::path& file);

/// Removes a file or a link; it may be gone already. Throws Error if that is not possible.
void remove_file(const std::filesystem::path& file);

}  // namespace evenkeel::app
