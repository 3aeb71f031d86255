#include "bench/peer_file.h"

#include <cmath>
#include <fstream>

#include "program.h"

namespace evenkeel::bench {
namespace {

using app::UsageError;
using nlohmann::json;

json read(const std::filesystem::path& file) {
  std::ifstream stream(file);
  if (!stream) fail<UsageError>("--peer-json {}: cannot be read", file.string());
  json content = json::parse(stream, nullptr, false);
  if (content.is_discarded()) fail<UsageError>("--peer-json {}: is no JSON", file.string());
  return content;
}

/// Whatever the layout: a peer has its own.
bool same_row(const json& theirs, const json& ours) {
  for (const char* key : {"op", "pass", "variant", "dtype", "shape"}) {
    if (theirs.at(key) != ours.at(key)) return false;
  }
  return true;
}

Statistics statistics_of(const json& times) {
  const Statistics s{times.at("median"), times.at("p10"), times.at("p90")};
  for (double seconds : {s.median, s.p10, s.p90}) {
    EK_CHECK(seconds > 0 && std::isfinite(seconds), "a time is {}", seconds);
  }
  return s;
}

Timing timing_of(const json& row) { return {statistics_of(row.at("cold")), statistics_of(row.at("warm"))}; }

/// What find() reads is there, and times are times.
void check_rows(const json& rows) {
  for (const json& row : rows) {
    same_row(row, row);
    timing_of(row);
  }
}

}  // namespace

PeerFile::PeerFile(const std::filesystem::path& file, const Machine& machine) {
  const json content = read(file);
  std::string device;
  int threads = 0;
  try {
    name_ = content.at("peer").get<std::string>();
    device = content.at("device").get<std::string>();
    threads = content.at("threads").get<int>();
    rows_ = content.at("rows");
    EK_CHECK(rows_.is_array(), "its rows are no list");
    check_rows(rows_);
  } catch (const std::exception& e) {
    fail<UsageError>("--peer-json {}: is no file of scripts/peer_torch.py: {}", file.string(), e.what());
  }
  const char* kind = machine.device.is_cpu() ? "cpu" : "cuda";
  if (device != kind)
    fail<UsageError>("--peer-json {}: was measured on {}, this is {}", file.string(), device, kind);
  if (machine.device.is_cpu() && threads != machine.threads)
    fail<UsageError>("--peer-json {}: was measured with --threads {}, this is {}", file.string(), threads,
                     machine.threads);
}

std::optional<PeerResult> PeerFile::find(const Row& row) const {
  const json ours = row.json();
  for (const json& theirs : rows_) {
    if (same_row(theirs, ours)) return PeerResult{name_, timing_of(theirs), std::nullopt};
  }
  return std::nullopt;
}

}  // namespace evenkeel::bench
