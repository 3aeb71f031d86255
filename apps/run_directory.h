// The directory that holds the results of one run.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

namespace evenkeel::app {

/// write_file_atomically with the bytes at hand.
void write_text(const std::filesystem::path& file, std::string_view bytes);

/// The config.json of a finished run, one that has DONE; nothing if there is none. Throws Error if it cannot
/// be read.
std::optional<nlohmann::json> finished_config(const std::filesystem::path& directory);

/// Throws UsageError if the directory holds results of another kind that a run would overwrite.
void check_usable(const std::filesystem::path& directory);

/// A run in progress. Holds config.json from the start, DONE at the end.
class RunDirectory {
 public:
  /// Creates the directory and writes config.json; removes what an unfinished run left there, except for its
  /// checkpoint and figures if it is to `resume`. Throws Error if it cannot be written, and whatever
  /// check_usable throws.
  RunDirectory(const std::filesystem::path& directory, const nlohmann::json& config, bool resume);
  /// Unless there are results or a checkpoint, leaves nothing behind.
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  /// The path of one of the files of a run.
  std::filesystem::path file(std::string_view name) const { return shown_ / name; }
  void write(std::string_view name, std::string_view bytes);
  /// Marks the run as finished, which needs no checkpoint any more.
  void finish();
  /// For a run that has no use for it: one that is finished or cannot be.
  void remove_checkpoint();

 private:
  std::filesystem::path directory_;      // absolute, to walk up from
  std::filesystem::path shown_;          // as the user wrote it
  std::filesystem::path first_created_;  // the outermost directory that was not there before; may be empty
  bool has_results_ = false;
};

}  // namespace evenkeel::app
