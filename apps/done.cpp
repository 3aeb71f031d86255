#include "done.h"

#include <functional>
#include <vector>

#include "checksum.h"
#include "evenkeel/core/files.h"
#include "program.h"

namespace fs = std::filesystem;

namespace evenkeel::app {
namespace {

constexpr std::string_view kDoneByOlderVersion = "done\n";
/// No result comes near it; a sparse file of terabytes would take days.
constexpr std::uint64_t kMostResultBytes = 1 << 30;

/// Throws Malformed if the file is no result by its size, too.
std::string sha256_of_result(const fs::path& file, const std::function<void()>& at_each_block) {
  InputFile(file).require_at_most(kMostResultBytes);
  return sha256_of(file, at_each_block);
}

std::string advice_about(const fs::path& directory) {
  return fmt::format("remove {}, so that the run is repeated", directory.string());
}

bool is_by_older_version(const fs::path& done) {
  std::string text(kDoneByOlderVersion.size() + 1, '\0');
  try {
    text.resize(InputFile(done).read(text.data(), text.size()));
  } catch (const Malformed&) {
    return false;
  }
  return text == kDoneByOlderVersion;
}

}  // namespace

std::map<std::string, std::string> checksums_of_results(const fs::path& directory) {
  std::map<std::string, std::string> sums;
  for (const std::string_view name : kResultFiles) {
    const fs::path file = directory / name;
    if (!fs::exists(file)) continue;
    // Not stopped by a signal: the run is as good as finished.
    sums.emplace(name, reading(file, "check the disk", [&] { return sha256_of_result(file, [] {}); }));
  }
  return sums;
}

void verify_results(const fs::path& directory, const nlohmann::json& recipe) {
  const std::string advice = advice_about(directory);
  const bool has_sums = !is_by_older_version(directory / kDoneFile);
  const Checkpoint done = has_sums ? load_checkpoint(directory / kDoneFile, advice) : Checkpoint();
  const auto stop = [] { stop_if_signalled("while results were checked"); };
  for (const std::string_view name : kResultFiles) {
    const fs::path file = directory / name;
    const auto sum = done.results.find(std::string(name));
    if (sum == done.results.end() && name == "logits.safetensors") continue;
    const std::string found = reading(file, advice, [&] { return sha256_of_result(file, stop); });
    if (has_sums && (sum == done.results.end() || found != sum->second)) {
      fail<DataError>("{} is not as the run wrote it, by its SHA-256 in DONE; {}", file.string(), advice);
    }
  }
  if (has_sums && done.recipe != recipe) {
    fail<DataError>("{} is of another recipe than config.json; {}", (directory / kDoneFile).string(), advice);
  }
}

Checkpoint load_last_checkpoint(const fs::path& directory) {
  if (is_by_older_version(directory / kDoneFile)) {
    fail<UsageError>(
        "{} was finished by a version that kept nothing to go on from: remove it or choose another --out",
        directory.string());
  }
  return load_checkpoint(directory / kDoneFile, advice_about(directory));
}

}  // namespace evenkeel::app
