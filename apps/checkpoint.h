// Where an unfinished run stands, on disk: from there it goes on to the same bits.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "evenkeel/nn/module.h"
#include "metrics.h"

namespace evenkeel::app {

/// The file of a run directory that holds the checkpoint; gone once the run is finished.
inline constexpr const char* kCheckpointFile = "checkpoint.safetensors";

/// What to do about a checkpoint that cannot be used.
inline constexpr const char* kCheckpointAdvice = "remove it to start that run over";

/// How far a run is, between two steps.
struct Progress {
  int epoch = 1;              ///< the one in progress; it has not been evaluated
  std::int64_t step = 0;      ///< of `steps` in the epoch, those that are done
  std::int64_t steps = 0;     ///< 0 before the first
  double seconds = 0;         ///< that they took
  std::vector<Metrics> rows;  ///< of the epochs before
};

/// A run between two steps. One file holds all of it, so that weights, counters and figures cannot disagree.
struct Checkpoint : Progress {
  nlohmann::json recipe;
  std::uint64_t draws = 0;                     ///< keys that the default generator has handed out
  std::map<std::string, std::string> results;  ///< of a finished run: the SHA-256 of each file, by name
  NamedTensors tensors;  ///< network, optimizer, schedule, running totals: "network.0.weight", ...

  /// "after epoch 3 of 20" or "in epoch 4 of 20, after step 17 of 938".
  std::string where() const;
  /// Adds the tensors of one part, "network" for example.
  void add(const std::string& part, const NamedTensors& state);
  /// The tensors of one part under their own names.
  NamedTensors part(const std::string& name) const;
};

/// Writes the file atomically. Throws Error if that fails; an older one is still whole then.
void save_checkpoint(const std::filesystem::path& file, const Checkpoint& checkpoint);
/// Throws DataError, in one line that ends in `advice`, if the file is damaged or no checkpoint: the progress
/// is one that a run of the recipe's epochs can have. Whether the tensors fit is seen where they are used.
Checkpoint load_checkpoint(const std::filesystem::path& file, std::string_view advice = kCheckpointAdvice);

}  // namespace evenkeel::app
