#include "checkpoint.h"

#include <zlib.h>

#include <limits>
#include <map>

#include "evenkeel/core/dispatch.h"
#include "evenkeel/core/files.h"
#include "evenkeel/core/json.h"
#include "evenkeel/nn/safetensors.h"

namespace evenkeel::app {
namespace {

using Metadata = std::map<std::string, std::string>;

/// The CRC-32 of everything in the file but itself: safetensors has none.
std::string checksum(const Metadata& metadata, const NamedTensors& tensors) {
  uLong crc = crc32_z(0, nullptr, 0);
  const auto add = [&crc](const void* bytes, std::size_t n) {
    crc = crc32_z(crc, static_cast<const Bytef*>(bytes), n);
  };
  for (const auto& [key, text] : metadata) {
    if (key != "crc32") add(text.data(), text.size());
  }
  for (const auto& [name, tensor] : std::map(tensors.begin(), tensors.end())) {  // in an order of its own
    add(name.data(), name.size());
    dispatch_any(tensor.dtype(), [&, &values = tensor]<typename T>() {
      const std::vector<T> host = values.template to_vector<T>();
      add(host.data(), host.size() * sizeof(T));
    });
  }
  return fmt::format("{:08x}", crc);
}

/// Fills in what the metadata say of where the run stands. Throws Malformed unless a run can stand there: at
/// least one step of its epoch is done, unless nothing is to be trained, and the figures are those of epochs
/// before.
void parse_progress(Metadata& metadata, Checkpoint& c) {
  constexpr double kMostSeconds = 1e9;  // 31 years
  const std::int64_t epochs = integer_at(c.recipe, "epochs", 0, std::numeric_limits<int>::max());
  const std::int64_t first = epochs > 0 ? 1 : 0, most_steps = epochs > 0 ? INT64_MAX : 0;
  const nlohmann::json state = parse_json(metadata["state"], "has a state that is", 1);
  c.epoch = static_cast<int>(integer_at(state, "epoch", first, epochs));
  c.steps = integer_at(state, "steps", first, most_steps);
  c.step = integer_at(state, "step", first, c.steps);
  c.seconds = number_at(state, "seconds", 0, kMostSeconds);
  c.draws = unsigned_at(state, "draws");
  c.rows = parse_metrics(metadata["metrics"]);
  if (!c.rows.empty() && (c.rows.back().epoch >= c.epoch || c.rows.size() % 2 != 0))
    fail<Malformed>("has figures of an epoch that is not over");
}

std::map<std::string, std::string> parse_results(const std::string& text) {
  const nlohmann::json json = parse_json(text, "has results that are", 1);
  if (!json.is_object()) fail<Malformed>("has no object as results");
  std::map<std::string, std::string> results;
  for (const auto& [name, sum] : json.items()) results.emplace(name, text_at(json, name.c_str()));
  return results;
}

}  // namespace

std::string Checkpoint::where() const {
  const std::string place = fmt::format("epoch {} of {}", epoch, recipe.at("epochs").get<int>());
  return step == steps ? "after " + place : fmt::format("in {}, after step {} of {}", place, step, steps);
}

void Checkpoint::add(const std::string& part, const NamedTensors& state) {
  for (const auto& [name, tensor] : state) tensors.emplace_back(part + "." + name, tensor);
}

NamedTensors Checkpoint::part(const std::string& name) const {
  NamedTensors state;
  for (const auto& [full_name, tensor] : tensors) {
    if (full_name.starts_with(name + ".")) state.emplace_back(full_name.substr(name.size() + 1), tensor);
  }
  return state;
}

void save_checkpoint(const std::filesystem::path& file, const Checkpoint& c) {
  const nlohmann::json state = {
      {"epoch", c.epoch}, {"step", c.step}, {"steps", c.steps}, {"seconds", c.seconds}, {"draws", c.draws}};
  Metadata metadata = {
      {"recipe", c.recipe.dump()}, {"state", state.dump()}, {"metrics", metrics_jsonl(c.rows)}};
  if (!c.results.empty()) metadata["results"] = nlohmann::json(c.results).dump();
  metadata["crc32"] = checksum(metadata, c.tensors);
  save_safetensors(file, c.tensors, metadata);
}

Checkpoint load_checkpoint(const std::filesystem::path& file, std::string_view advice) {
  Metadata metadata;
  Checkpoint c;
  try {
    c.tensors = load_safetensors(file, metadata);
  } catch (const DataError& e) {
    fail<DataError>("{}, or {}", e.what(), advice);
  }
  return reading(file, advice, [&] {
    for (const char* key : {"recipe", "state", "metrics", "crc32"}) {
      if (!metadata.contains(key)) fail<Malformed>("is no checkpoint of a run");
    }
    if (checksum(metadata, c.tensors) != metadata["crc32"])
      fail<Malformed>("is damaged, its checksum is wrong");
    c.recipe = parse_json(metadata["recipe"], "has a recipe that is");
    parse_progress(metadata, c);
    if (metadata.contains("results")) c.results = parse_results(metadata["results"]);
    return c;
  });
}

}  // namespace evenkeel::app
