#include "run_directory.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <vector>

#include "checkpoint.h"
#include "core/files.h"
#include "program.h"

namespace fs = std::filesystem;

namespace evenkeel::app {
namespace {

constexpr std::array<std::string_view, 10> kFiles = {
    "config.json",        "metrics.csv",     "metrics.jsonl",     kCheckpointFile, "model.safetensors",
    "logits.safetensors", "predictions.csv", "misclassified.png", "confusion.csv", "DONE"};
/// Those that an unfinished run needs to continue, and the figures of its epochs.
constexpr std::array<std::string_view, 4> kFilesOfUnfinished = {"config.json", "metrics.csv", "metrics.jsonl",
                                                                kCheckpointFile};

/// The files of a run in `directory`, among them what a killed writer left beside them
/// ("metrics.csv.123.tmp").
std::vector<fs::path> files_of_run(const fs::path& directory) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    const auto belongs = [&](std::string_view file) {
      return name.starts_with(file) && (name.size() == file.size() || name[file.size()] == '.');
    };
    if (std::any_of(kFiles.begin(), kFiles.end(), belongs)) found.push_back(entry.path());
  }
  return found;
}

bool remove_quietly(const fs::path& path) {
  std::error_code ignored;
  return fs::remove(path, ignored);
}

std::optional<nlohmann::json> read_config(const fs::path& directory) {
  std::ifstream in(directory / "config.json");
  nlohmann::json config = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object() || !config.contains("evenkeel") || !config.contains("recipe")) return std::nullopt;
  return config;
}

}  // namespace

void write_text(const fs::path& file, std::string_view bytes) {
  write_file_atomically(file, [bytes](std::ostream& out) { out << bytes; });
}

std::optional<nlohmann::json> finished_config(const fs::path& directory) {
  std::error_code ignored;
  if (!fs::exists(directory / "DONE", ignored)) return std::nullopt;
  auto config = read_config(directory);
  EK_CHECK(config, "{} has DONE but no config.json of a run: remove it or choose another --out",
           directory.string());
  return config;
}

void check_usable(const fs::path& directory) {
  if (finished_config(directory)) {
    fail<UsageError>("{} holds a finished run: remove it or choose another --out", directory.string());
  }
  const std::vector<fs::path> files = files_of_run(directory);
  if (!files.empty() && !read_config(directory)) {
    fail<UsageError>("{} is not of a run and would be overwritten: choose another --out", files[0].string());
  }
}

RunDirectory::RunDirectory(const fs::path& directory, const nlohmann::json& config, bool resume)
    : directory_(fs::absolute(directory / "").lexically_normal().parent_path()), shown_(directory) {
  check_usable(shown_);
  std::error_code error;
  for (fs::path p = directory_; p.has_relative_path() && !fs::exists(p, error); p = p.parent_path()) {
    first_created_ = p;
  }
  fs::create_directories(directory_, error);
  if (error) fail("cannot create {} ({}): choose another --out", shown_.string(), error.message());
  write_text(file("config.json"), config.dump(2) + "\n");
  const std::size_t kept = resume ? kFilesOfUnfinished.size() : 1;
  for (const fs::path& left : files_of_run(directory_)) {
    const auto end = kFilesOfUnfinished.begin() + kept;
    if (std::find(kFilesOfUnfinished.begin(), end, left.filename()) == end) remove_quietly(left);
  }
}

RunDirectory::~RunDirectory() {
  std::error_code ignored;
  if (has_results_ || fs::exists(directory_ / kCheckpointFile, ignored)) return;
  for (const fs::path& left : files_of_run(directory_)) remove_quietly(left);
  if (first_created_.empty()) return;
  fs::path p = directory_;
  while (remove_quietly(p) && p != first_created_) p = p.parent_path();
}

void RunDirectory::write(std::string_view name, std::string_view bytes) {
  write_text(file(name), bytes);
  has_results_ = true;
}

void RunDirectory::finish() {
  write("DONE", "done\n");  // before the checkpoint goes: whoever is killed in between has lost nothing
  remove_checkpoint();
}

void RunDirectory::remove_checkpoint() { remove_quietly(file(kCheckpointFile)); }

}  // namespace evenkeel::app
