#include "checkpoint.h"

#include <zlib.h>

#include <map>

#include "nn/safetensors.h"

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
  metadata["crc32"] = checksum(metadata, c.tensors);
  save_safetensors(file, c.tensors, metadata);
}

Checkpoint load_checkpoint(const std::filesystem::path& file) {
  Metadata metadata;
  Checkpoint c;
  try {
    c.tensors = load_safetensors(file, metadata);
  } catch (const DataError& e) {
    fail<DataError>("{}, or {}", e.what(), kCheckpointAdvice);
  }
  for (const char* key : {"recipe", "state", "metrics", "crc32"}) {
    if (!metadata.contains(key))
      fail<DataError>("{} is no checkpoint of a run: {}", file.string(), kCheckpointAdvice);
  }
  if (checksum(metadata, c.tensors) != metadata["crc32"]) {
    fail<DataError>("{} is damaged, its checksum is wrong: {}", file.string(), kCheckpointAdvice);
  }
  try {
    c.recipe = nlohmann::json::parse(metadata["recipe"]);
    const auto state = nlohmann::json::parse(metadata["state"]);
    state.at("epoch").get_to(c.epoch);
    state.at("step").get_to(c.step);
    state.at("steps").get_to(c.steps);
    state.at("seconds").get_to(c.seconds);
    state.at("draws").get_to(c.draws);
    c.rows = parse_metrics(metadata["metrics"]);
  } catch (const nlohmann::json::exception&) {
    fail<DataError>("{} is a checkpoint of another version: {}", file.string(), kCheckpointAdvice);
  }
  return c;
}

}  // namespace evenkeel::app
