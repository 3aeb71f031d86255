// Files known by their content.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace evenkeel::app {

/// The SHA-256 of a file, in hexadecimal digits. Calls `at_each_block` on the way. Throws Malformed if the
/// file cannot be read.
std::string sha256_of(const std::filesystem::path& file, const std::function<void()>& at_each_block);

/// The SHA-256 of weights. Throws DataError unless the file is safetensors, as for reading it.
std::string sha256_of_weights(const std::filesystem::path& file);

}  // namespace evenkeel::app
