#include "run_directory.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "done.h"
#include "evenkeel/core/json.h"
#include "folder.h"
#include "metrics.h"
#include "program.h"

namespace fs = std::filesystem;

namespace evenkeel::app {
namespace {

constexpr const char* kConfigFile = "config.json";
/// What an unfinished run needs to continue, and the figures of its epochs.
constexpr std::array<std::string_view, 4> kFilesOfUnfinished = {kConfigFile, "metrics.csv", "metrics.jsonl",
                                                                kCheckpointFile};

bool is_of_unfinished(std::string_view name) {
  return std::find(kFilesOfUnfinished.begin(), kFilesOfUnfinished.end(), name) != kFilesOfUnfinished.end();
}

bool is_of_run(std::string_view name) {
  return name == kCheckpointFile || name == kDoneFile ||
         std::find(kResultFiles.begin(), kResultFiles.end(), name) != kResultFiles.end();
}

/// True if the name is that of a file which a kill has left half written.
bool is_half_written(std::string_view name) {
  const auto of = [name](std::string_view file) { return is_left_by_write(name, file); };
  return of(kCheckpointFile) || of(kDoneFile) || std::any_of(kResultFiles.begin(), kResultFiles.end(), of);
}

constexpr std::size_t kMostConfigBytes = 1 << 20;

/// Throws Malformed unless there is the config.json of a run.
nlohmann::json read_config(const fs::path& directory) {
  return parse_config(read_text(directory / kConfigFile, kMostConfigBytes));
}

bool has_config(const fs::path& directory) {
  try {
    read_config(directory);
    return true;
  } catch (const Malformed&) {
    return false;
  }
}

/// True if a run that only evaluates was begun: it has results without a checkpoint.
bool is_evaluation(const fs::path& directory) {
  try {
    return read_config(directory).at("recipe").value("epochs", nlohmann::json()) == 0;
  } catch (const Malformed&) {
    return false;
  }
}

/// True if config.json can be what a kill or a power failure left of one: empty, only NULs, or cut short.
bool has_rest_of_config(const fs::path& directory) {
  constexpr std::string_view kStart = "{\n  \"build\": \"";  // of each: members are in order of their names
  constexpr std::string_view kEnd = "\n}";
  std::string text;
  try {
    text = read_text(directory / kConfigFile, kMostConfigBytes);
  } catch (const Malformed&) {
    return false;
  }
  if (text.find_first_not_of('\0') == std::string::npos || kStart.starts_with(text)) return true;
  return text.starts_with(kStart) && text.find(kEnd) == std::string::npos && !nlohmann::json::accept(text);
}

bool has_checkpoint(const fs::path& directory) {
  try {
    load_checkpoint(directory / kCheckpointFile);
    return true;
  } catch (const DataError&) {
    return false;
  }
}

/// True if a run was begun in the directory, which has files of these names. The rest of a config.json says
/// so only where nothing else could be lost.
bool is_begun(const fs::path& directory, const std::vector<std::string>& names) {
  if (has_config(directory) || has_checkpoint(directory)) return true;
  const auto is_other = [](const std::string& name) { return is_of_run(name) && name != kConfigFile; };
  return std::none_of(names.begin(), names.end(), is_other) && has_rest_of_config(directory);
}

}  // namespace

void write_text(const fs::path& file, std::string_view bytes, Sync sync) {
  write_file_atomically(
      file, [bytes](std::ostream& out) { out << bytes; }, sync);
}

nlohmann::json parse_config(std::string_view text) {
  nlohmann::json config = parse_json(text);
  text_at(config, "evenkeel");
  if (!member(config, "recipe").is_object()) fail<Malformed>("has no object as recipe");
  return config;
}

std::optional<nlohmann::json> finished_config(const fs::path& directory) {
  std::error_code ignored;
  if (!fs::exists(directory / kDoneFile, ignored)) return std::nullopt;
  return reading(directory / kConfigFile,
                 fmt::format("{} has DONE: remove it or choose another --out", directory.string()),
                 [&] { return read_config(directory); });
}

void check_writable(const fs::path& directory) {
  if (access(directory.c_str(), W_OK | X_OK) != 0 && errno != ENOENT)
    fail<UsageError>("{} may not be written ({}): choose another --out", directory.string(),
                     std::strerror(errno));
  for (const std::string& name : names_in(directory)) {
    const fs::path file = directory / name;
    if (is_of_run(name) && !is_regular(file))
      fail<UsageError>("{} is no regular file and would be replaced: choose another --out", file.string());
  }
}

void check_usable(const fs::path& directory) {
  if (finished_config(directory)) {
    fail<UsageError>("{} holds a finished run: remove it or choose another --out", directory.string());
  }
  check_writable(directory);
  const std::vector<std::string> names = names_in(directory);
  const bool is_begun_here = is_begun(directory, names);
  std::error_code ignored;
  // Whatever a killed run has left of results, it has left a checkpoint too, which goes after DONE.
  if (is_begun_here && (fs::exists(directory / kCheckpointFile, ignored) || is_evaluation(directory))) return;
  for (const std::string& name : names) {
    if (!is_of_run(name) || name == kCheckpointFile || (is_begun_here && is_of_unfinished(name))) continue;
    fail<UsageError>("{} is not of an unfinished run and would be overwritten: choose another --out",
                     (directory / name).string());
  }
}

void check_weights_stay(const fs::path& weights, const fs::path& directory) {
  for (const std::string& name : names_in(directory)) {
    std::error_code ignored;
    if ((is_of_run(name) || is_half_written(name)) && fs::equivalent(weights, directory / name, ignored)) {
      fail<UsageError>(
          "--weights {} is a file of the run in {} and would be overwritten: choose another --out",
          weights.string(), directory.string());
    }
  }
}

bool may_hold_run(const fs::path& directory) {
  std::error_code ignored;
  if (!fs::is_directory(directory, ignored)) return false;
  std::vector<std::string> names = names_in(directory);
  std::erase(names, kLockFile);  // the first thing in it, on some filesystems
  const auto is_known = [](const std::string& name) { return is_of_run(name) || is_half_written(name); };
  return names.empty() || std::any_of(names.begin(), names.end(), is_known);
}

void RunDirectory::begin(const nlohmann::json& config, bool resume) {
  config_ = config;
  with_file(kDoneFile, [this](const fs::path& file) { goes_on_ = fs::exists(file); });
  begun_ = true;
  has_results_ = resume;
  for (const std::string& name : names_in(directory_.path())) {
    const bool is_kept = name == kConfigFile || (resume && is_of_unfinished(name));
    const bool is_left = !goes_on_ && is_of_run(name) && !is_kept;
    if (!is_left && !is_half_written(name)) continue;
    with_file(name, [](const fs::path& file) {
      if (is_regular(file)) remove_file(file);
    });
  }
  // Last: as long as there are results without a checkpoint, it says whose they are.
  if (!goes_on_) write_now(kConfigFile, config.dump(2) + "\n");
}

RunDirectory::~RunDirectory() {
  const fs::path& path = directory_.path();
  std::error_code ignored;
  if (!begun_ || has_results_ || goes_on_ || !directory_.is_in_place()) return;
  if (fs::exists(path / kCheckpointFile, ignored)) return;
  for (const std::string_view name : kResultFiles) {
    if (name != kConfigFile) unlink((path / name).c_str());
  }
  unlink((path / kConfigFile).c_str());  // last: as long as there is anything, it says whose it is
}

void RunDirectory::with_file(std::string_view name, const std::function<void(const fs::path&)>& use) const {
  directory_.require_in_place();
  try {
    use(directory_.path() / name);
  } catch (const Error&) {
    directory_.require_in_place();
    throw;
  }
}

void RunDirectory::write_now(std::string_view name, std::string_view bytes, Sync sync) {
  with_file(name, [&](const fs::path& file) { write_text(file, bytes, sync); });
}

void RunDirectory::write_figures(const std::vector<Metrics>& rows, Sync sync) {
  if (goes_on_) return;  // those that are there belong to the results
  write_now("metrics.csv", metrics_csv(rows), sync);
  write_now("metrics.jsonl", metrics_jsonl(rows), sync);
  has_results_ = true;
}

void RunDirectory::begin_results() {
  if (!goes_on_) return;
  with_file(kDoneFile, remove_file);
  sync_directory(directory_.path());
  begin(config_, /*resume=*/true);
}

void RunDirectory::write(std::string_view name, std::string_view bytes) {
  write_now(name, bytes);
  has_results_ = true;
}

void RunDirectory::finish(Checkpoint last) {
  with_file(kDoneFile, [&](const fs::path& file) {
    last.results = checksums_of_results(file.parent_path());
    save_checkpoint(file, last);
  });
  remove_checkpoint();  // after DONE: whoever is killed in between has lost nothing
}

void RunDirectory::remove_checkpoint() { with_file(kCheckpointFile, remove_file); }

}  // namespace evenkeel::app
