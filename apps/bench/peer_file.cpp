#include "bench/peer_file.h"

#include <limits>

#include "evenkeel/core/files.h"
#include "evenkeel/core/json.h"
#include "program.h"
#include "text.h"

namespace evenkeel::bench {
namespace {

using app::UsageError;
using nlohmann::json;

/// True if both are one row, whatever the layout: a peer has its own.
bool same_row(const json& theirs, const json& ours) {
  for (const char* key : {"op", "pass", "variant", "dtype", "shape"}) {
    if (theirs.at(key) != ours.at(key)) return false;
  }
  return true;
}

Statistics statistics_of(const json& row, const char* state) {
  const json& times = member(row, state);
  constexpr double kLeast = 1e-12, kMost = 1e9;  // ratios of such seconds are finite
  const auto seconds = [&](const char* name) { return number_at(times, name, kLeast, kMost); };
  return {seconds("median"), seconds("p10"), seconds("p90")};
}

Timing timing_of(const json& row) { return {statistics_of(row, "cold"), statistics_of(row, "warm")}; }

/// What is printed in every line of the table.
std::string peer_of(const json& content) {
  constexpr std::size_t kMostBytes = 100;
  const std::string name = text_at(content, "peer");
  if (name.size() > kMostBytes || name != app::as_one_line(name))
    fail<Malformed>("has {} as peer, not a short name on one line", in_quotes(name));
  return name;
}

/// Throws Malformed unless what find() reads is there, and times are times.
void check_row(const json& row) {
  for (const char* key : {"op", "pass", "variant", "dtype"}) text_at(row, key);
  if (!member(row, "shape").is_array()) fail<Malformed>("has no list as shape");
  timing_of(row);
}

}  // namespace

PeerFile::PeerFile(const std::filesystem::path& file, const Machine& machine) {
  std::string text, device;
  std::int64_t threads = 0;
  try {
    constexpr std::size_t kMostBytes = 16 << 20;
    text = read_text(file, kMostBytes);
  } catch (const Malformed& problem) {
    fail<UsageError>("--peer-json {}: cannot be read: it {}", file.string(), problem.what());
  }
  try {
    const json content = parse_json(text);
    name_ = peer_of(content);
    device = text_at(content, "device");
    threads = integer_at(content, "threads", 0, std::numeric_limits<int>::max());
    rows_ = member(content, "rows");
    if (!rows_.is_array()) fail<Malformed>("has no list as rows");
    for (const json& row : rows_) check_row(row);
  } catch (const Malformed& problem) {
    fail<UsageError>("--peer-json {}: is no JSON of scripts/peer_torch.py: it {}", file.string(),
                     problem.what());
  }
  const char* kind = machine.device.is_cpu() ? "cpu" : "cuda";
  if (device != kind)
    fail<UsageError>("--peer-json {}: was measured on {}, this is {}", file.string(), in_quotes(device),
                     kind);
  if (machine.device.is_cpu() && threads != machine.threads)
    fail<UsageError>("--peer-json {}: was measured with --threads {}, this is {}", file.string(), threads,
                     machine.threads);
}

std::optional<PeerResult> PeerFile::find(const json& ours) const {
  for (const json& theirs : rows_) {
    if (same_row(theirs, ours)) return PeerResult{name_, timing_of(theirs), std::nullopt};
  }
  return std::nullopt;
}

}  // namespace evenkeel::bench
