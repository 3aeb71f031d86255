// Files of a run directory, and of bench_norms.
#include <zlib.h>

#include <cmath>
#include <map>

#include "bench/peer_file.h"
#include "checkpoint.h"
#include "done.h"
#include "evenkeel/core/files.h"
#include "evenkeel/nn/safetensors.h"
#include "fuzz/files.h"
#include "metrics.h"
#include "predictions.h"
#include "program.h"
#include "run_directory.h"

namespace evenkeel::fuzz {
namespace {

/// A checkpoint without tensors and with this metadata, whose checksum is right.
std::filesystem::path checkpoint_with(std::map<std::string, std::string> metadata) {
  uLong crc = crc32(0, nullptr, 0);
  for (const auto& [key, text] : metadata)
    crc = crc32_z(crc, reinterpret_cast<const Bytef*>(text.data()), text.size());
  metadata["crc32"] = fmt::format("{:08x}", crc);
  save_safetensors(written_file(), {}, metadata);
  return written_file();
}

bool same(const app::Checkpoint& a, const app::Checkpoint& b) {
  return a.recipe == b.recipe && a.epoch == b.epoch && a.step == b.step && a.steps == b.steps &&
         a.seconds == b.seconds && a.draws == b.draws && a.rows == b.rows && a.results == b.results;
}

}  // namespace

bool checkpoint(std::string_view bytes) {
  std::map<std::string, std::string> metadata;
  for (const char* part : {"recipe", "state", "metrics", "results"}) {
    if (bytes.empty() && part == std::string_view("results")) break;
    const std::size_t end = std::min(bytes.find('\0'), bytes.size());
    metadata[part] = bytes.substr(0, end);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
  }
  std::filesystem::path file;
  try {
    file = checkpoint_with(metadata);
  } catch (const Error&) {  // bytes that are not UTF-8 cannot be in such a file
    return false;
  }
  const auto read = accepted([&] { return app::load_checkpoint(file); });
  if (!read) return false;
  const auto epochs = read->recipe.at("epochs").get<std::int64_t>();
  require(0 <= read->epoch && read->epoch <= epochs && (epochs == 0 || read->epoch > 0), "its epoch");
  require(0 <= read->step && read->step <= read->steps && (epochs == 0 || read->step > 0), "its step");
  require(0 <= read->seconds && std::isfinite(read->seconds), "its seconds");
  require(!read->where().empty(), "it is nowhere");
  app::save_checkpoint(written_file(), *read);
  require(same(*read, app::load_checkpoint(written_file())), "written, it is another");
  return true;
}

bool done(std::string_view bytes) {
  const auto read = accepted<Error>([&] {
    const std::filesystem::path file = file_of(bytes, "DONE");
    app::load_last_checkpoint(file.parent_path());
    return file;
  });
  require(!accepted<DataError>([&] { return app::verify_results(written_file().parent_path(), {}), 0; }),
          "a run without results is accepted");
  return read.has_value();
}

bool metrics(std::string_view bytes) {
  const auto rows = accepted([&] { return app::read_metrics(file_of(bytes)); });
  if (!rows) return false;
  require(app::parse_metrics(app::metrics_jsonl(*rows)) == *rows, "written, they are others");
  for (const app::Metrics& m : *rows)
    require(0 <= m.accuracy && m.accuracy <= 1 && std::isfinite(m.loss) && std::isfinite(m.seconds),
            "a figure");
  return true;
}

bool config(std::string_view bytes) {
  const auto read = accepted([&] { return app::parse_config(bytes); });
  if (!read) return false;
  require(app::parse_config(read->dump(2)) == *read, "written, it is another");
  require(read->at("recipe").is_object(), "its recipe");
  return true;
}

bool predictions(std::string_view bytes) {
  const auto read = accepted([&] { return app::read_predictions(file_of(bytes)); });
  if (!read) return false;
  for (const app::Prediction& p : *read) {
    require(0 <= p.label && p.label < 10 && 0 <= p.predicted && p.predicted < 10, "a class");
    require(0 <= p.p_label && p.p_label <= p.p_predicted && p.p_predicted <= 1, "a probability");
  }
  const std::string written = app::predictions_csv(*read);  // with six digits
  require(app::predictions_csv(app::parse_predictions(written)) == written, "written, they are others");
  return true;
}

bool peer_file(std::string_view bytes) {
  bench::Machine machine;
  machine.threads = 2;
  const auto file = accepted<app::UsageError>([&] { return bench::PeerFile(file_of(bytes), machine); });
  if (!file) return false;
  const nlohmann::json content = nlohmann::json::parse(bytes);
  for (const nlohmann::json& row : content.at("rows")) {
    const auto found = file->find(row);
    require(found.has_value(), "one of its rows is not found");
    for (const bench::Statistics& s : {found->timing.cold, found->timing.warm})
      require(0 < s.median && std::isfinite(s.median), "a time");
  }
  return true;
}

}  // namespace evenkeel::fuzz
