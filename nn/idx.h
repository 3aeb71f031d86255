// IDX files as they lie on disk. data::read_idx is what users call.
#pragma once

#include <filesystem>
#include <string>

#include "evenkeel/core/tensor.h"

namespace evenkeel::data {

struct IdxFile {
  Tensor values;       ///< u8
  std::string sha256;  ///< of the whole content, decompressed
};

/// Reads an IDX file of unsigned bytes, plain or gzipped. Throws Malformed, for reading() to complete.
/// Nothing is allocated that the file cannot fill, and no more is decompressed than its header asks for.
IdxFile read_idx_file(const std::filesystem::path& file, int rank);

}  // namespace evenkeel::data
