// Weights on disk in the safetensors format (https://github.com/huggingface/safetensors).
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "evenkeel/nn/module.h"

namespace evenkeel {

/// Writes the tensors beside `file` and renames, so that a killed program leaves no half-written file. The
/// same tensors give the same bytes. Throws Error if the file cannot be written.
void save_safetensors(const std::filesystem::path& file, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata = {});

/// Reads tensors of every dtype, in the order of their offsets. Throws DataError, naming the file and
/// what is wrong, on a header that is over 100 MB, not JSON, or has duplicate keys; on offsets that overlap,
/// leave holes or pass the end; on sizes that do not match shape and dtype; on an unknown dtype.
NamedTensors load_safetensors(const std::filesystem::path& file);
/// Reads the tensors in the same way, and the metadata that were saved with them.
NamedTensors load_safetensors(const std::filesystem::path& file,
                              std::map<std::string, std::string>& metadata);

}  // namespace evenkeel
