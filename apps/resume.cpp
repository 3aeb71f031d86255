#include "resume.h"

#include "program.h"
#include "run_directory.h"

namespace fs = std::filesystem;

namespace evenkeel::app {
namespace {

/// "lr 0.01, not 0.02" for the first option in which the recipe of a run that is `there` is another; or "".
std::string difference(const RunOptions& run, const nlohmann::json& there) {
  const nlohmann::json here = recipe(run);
  for (const auto& [key, value] : here.items()) {
    const nlohmann::json other = there.value(key, nlohmann::json());
    if (other != value) return fmt::format("{} {}, not {}", key, other.dump(), value.dump());
  }
  return "";
}

}  // namespace

bool finished_before(const RunOptions& run) {
  const auto config = finished_config(run.out);
  if (!config) return false;
  std::string problem = difference(run, config->at("recipe"));
  if (!problem.empty()) problem = "with " + problem;
  if (problem.empty() && run.save_logits && !fs::exists(run.out / "logits.safetensors")) {
    problem = "without --save-logits";
  }
  if (!problem.empty()) {
    fail<UsageError>("{} is a finished run {}: remove it or choose another --out", run.out.string(), problem);
  }
  std::error_code ignored;  // left there by a kill after DONE
  fs::remove(run.out / kCheckpointFile, ignored);
  return true;
}

std::optional<Checkpoint> checkpoint_for(const RunOptions& run) {
  check_usable(run.out);
  std::error_code error;
  if (!fs::exists(run.out / kCheckpointFile, error) && !error) return std::nullopt;
  Checkpoint checkpoint = load_checkpoint(run.out / kCheckpointFile);
  const std::string out = run.out.string(), saved = "saved " + checkpoint.where();
  if (!run.resume) {
    fail<UsageError>(
        "{} holds an unfinished run, {}: continue with --resume, remove it or choose another --out", out,
        saved);
  }
  if (const std::string other = difference(run, checkpoint.recipe); !other.empty()) {
    fail<UsageError>("{} holds an unfinished run, {}, with {}: remove it or choose another --out", out, saved,
                     other);
  }
  return checkpoint;
}

}  // namespace evenkeel::app
