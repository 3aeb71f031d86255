// --peer-json: what another library needs for the same rows, measured by scripts/peer_torch.py.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "bench/measure.h"

namespace evenkeel::bench {

class PeerFile {
 public:
  /// Throws UsageError if the file cannot be read, is no such file, or was measured on another kind of device
  /// or with another number of threads than `machine` has.
  PeerFile(const std::filesystem::path& file, const Machine& machine);

  /// "PyTorch 1.13.0"
  const std::string& name() const { return name_; }
  /// The result of a row, as Row::json() describes the row; nothing if it is not in the file.
  std::optional<PeerResult> find(const nlohmann::json& row) const;

 private:
  std::string name_;
  nlohmann::json rows_;
};

}  // namespace evenkeel::bench
