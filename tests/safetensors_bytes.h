// Safetensors files made byte by byte.
#pragma once

#include <cstdint>
#include <string>

#include "evenkeel/nn/safetensors.h"
#include "files.h"

namespace evenkeel::test {

inline std::string length_prefix(std::uint64_t n) { return {reinterpret_cast<const char*>(&n), 8}; }

/// A file with this header and this data.
inline std::string safetensors(const std::string& header, const std::string& data = "") {
  return length_prefix(header.size()) + header + data;
}

inline NamedTensors load_bytes(const std::string& bytes) {
  const TempDir dir;
  write_file(dir / "file", bytes);
  return load_safetensors(dir / "file");
}

}  // namespace evenkeel::test
