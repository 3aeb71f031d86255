// The directory that holds the results of one run.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "checkpoint.h"
#include "evenkeel/core/files.h"
#include "locked_directory.h"

namespace evenkeel::app {

/// write_file_atomically with the bytes at hand.
void write_text(const std::filesystem::path& file, std::string_view bytes, Sync sync = Sync::yes);

/// config.json: an object that has the version as "evenkeel", and "recipe". Throws Malformed on anything
/// else.
nlohmann::json parse_config(std::string_view text);

/// The config.json of a finished run, one that has DONE; nothing if there is none. Throws DataError if it
/// cannot be read.
std::optional<nlohmann::json> finished_config(const std::filesystem::path& directory);

/// Throws UsageError unless a run could write all its files there: if the directory may not be written, or
/// anything but a file has the name of one.
void check_writable(const std::filesystem::path& directory);

/// Throws UsageError if the directory holds a finished run, files that are not of an unfinished run and that
/// a run would overwrite, or whatever check_writable refuses. What a killed run leaves is no obstacle,
/// wherever it was killed: of one that trains, results only beside a checkpoint.
void check_usable(const std::filesystem::path& directory);

/// Throws UsageError if a run in the directory would overwrite or remove the file that its weights are read
/// from.
void check_weights_stay(const std::filesystem::path& weights, const std::filesystem::path& directory);

/// True if a run was begun in the directory, or could have been: it has files of one, or is empty.
bool may_hold_run(const std::filesystem::path& directory);

/// A run in progress, in a directory that no other program works in meanwhile. Holds config.json from the
/// start, DONE at the end. While a finished run goes on to more epochs, its results stay until new ones are
/// there.
class RunDirectory {
 public:
  /// Makes and locks the directory, and leaves what is there alone. Throws whatever LockedDirectory throws.
  explicit RunDirectory(const std::filesystem::path& directory) : directory_(directory) {}
  /// Unless there are results or a checkpoint, leaves nothing behind that was not there before.
  ~RunDirectory();

  /// Removes what an unfinished run left there, except for its checkpoint and figures if it is to `resume`;
  /// writes config.json. What other programs or people put there stays. Throws Error if that fails.
  void begin(const nlohmann::json& config, bool resume);
  /// Calls `use` with the path of one of the files of a run. Throws Error if the directory is no longer where
  /// it was: before, so that nothing is written to another one of that name, and in place of an Error of
  /// `use`, of which that is the cause.
  void with_file(std::string_view name, const std::function<void(const std::filesystem::path&)>& use) const;
  /// The figures of the epochs so far, which a checkpoint has too.
  void write_figures(const std::vector<Metrics>& rows, Sync sync = Sync::no);
  /// Called before the results are written: those of fewer epochs are no result from here on.
  void begin_results();
  void write(std::string_view name, std::string_view bytes);
  /// Marks the run as finished, with the checksums of its results and the state from which it could go on to
  /// more epochs, which is its last checkpoint.
  void finish(Checkpoint last);
  /// For a run that has no use for it: one that is finished or cannot be.
  void remove_checkpoint();

 private:
  void write_now(std::string_view name, std::string_view bytes, Sync sync = Sync::yes);

  LockedDirectory directory_;
  nlohmann::json config_;
  bool begun_ = false;
  bool goes_on_ = false;  // a finished run whose results are still there
  bool has_results_ = false;
};

}  // namespace evenkeel::app
