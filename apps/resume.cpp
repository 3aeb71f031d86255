#include "resume.h"

#include <unistd.h>

#include "done.h"
#include "evenkeel/core/json.h"
#include "program.h"
#include "run_directory.h"

namespace fs = std::filesystem;

namespace evenkeel::app {
namespace {

/// What a recipe, which may be from any file, has as `key`, for a message. Some keys are left out where they
/// say nothing out of the ordinary.
std::string shown(const nlohmann::json& recipe, const std::string& key) {
  const auto found = recipe.find(key);
  if (found == recipe.end()) return key == "test_images" ? "all" : key == "engine" ? "layers" : "none";
  const std::string text = found->is_string() ? found->get<std::string>() : found->dump();
  return found->is_primitive() && !found->is_string() ? text : in_quotes(text);
}

/// "lr 0.01, not 0.02" for the first option in which the recipe of a run that is `there` is another; or "".
/// Options that only one of the two has come last: they follow from others, as groups do from norm, or stand
/// alone.
std::string difference(const RunOptions& run, const nlohmann::json& there) {
  const nlohmann::json here = recipe(run);
  nlohmann::json keys = here;
  keys.update(there);
  // Weights are the same if their content is, whatever their name. Older runs have only the name.
  keys.erase(here.contains("weights_sha256") && there.contains("weights_sha256") ? "weights"
                                                                                 : "weights_sha256");
  for (const bool in_both : {true, false}) {
    for (const auto& [key, value] : keys.items()) {
      if ((here.contains(key) && there.contains(key)) != in_both) continue;
      if (in_both && here.at(key) == there.at(key)) continue;
      return fmt::format("{} {}, not {}", key, shown(there, key), shown(here, key));
    }
  }
  return "";
}

/// True if the recipes differ in nothing but perhaps in epochs, of which the run has `epochs` or more.
bool is_as_long(const RunOptions& run, const nlohmann::json& there, std::int64_t epochs) {
  nlohmann::json as_long = there;
  as_long["epochs"] = run.epochs;
  return 0 < epochs && epochs <= run.epochs && difference(run, as_long).empty();
}

[[noreturn]] void refuse_finished(const RunOptions& run, const std::string& problem) {
  fail<UsageError>("{} is a finished run {}: remove it or choose another --out", run.out.string(), problem);
}

/// The checkpoint beside DONE, if it can be used.
std::optional<Checkpoint> checkpoint_beside_done(const RunOptions& run) {
  try {
    return load_checkpoint(run.out / kCheckpointFile);
  } catch (const DataError&) {
    return std::nullopt;
  }
}

/// True if the finished run of this config wrote its logits; a file of that name may be anybody's.
bool has_logits(const fs::path& directory, const nlohmann::json& config) {
  const nlohmann::json options = config.value("options", nlohmann::json());
  return options.is_object() && options.value("save_logits", nlohmann::json()) == true &&
         fs::exists(directory / "logits.safetensors");
}

/// Where a finished run goes on to more epochs: after its last one, or where it was stopped on the way to
/// them.
Checkpoint last_checkpoint_for(const RunOptions& run) {
  Checkpoint last = load_last_checkpoint(run.out);
  if (!is_as_long(run, last.recipe, last.epoch)) refuse_finished(run, "with " + difference(run, last.recipe));
  const fs::path beside = run.out / kCheckpointFile;
  if (!fs::exists(beside)) return last;
  const auto later = checkpoint_beside_done(run);
  if (!later || !is_as_long(run, later->recipe, later->epoch)) {
    fail<UsageError>(
        "{} is no checkpoint that this run can go on from, and would be overwritten: move it away or choose "
        "another --out",
        beside.string());
  }
  return *later;
}

}  // namespace

void require_run_to_resume(const RunOptions& run) {
  if (!run.resume || run.may_start || may_hold_run(run.out)) return;
  fail<UsageError>("--resume: there is no run in {}: correct --out, or start one with --resume-or-start",
                   run.out.string());
}

bool finished_before(const RunOptions& run) {
  const auto config = finished_config(run.out);
  if (!config) return false;
  const nlohmann::json& there = config->at("recipe");
  verify_results(run.out, there);
  std::string problem = difference(run, there);
  const nlohmann::json epochs = there.value("epochs", nlohmann::json());
  if (!problem.empty() && epochs.is_number_integer() && is_as_long(run, there, epochs.get<std::int64_t>()))
    return false;
  if (!problem.empty()) problem = "with " + problem;
  if (problem.empty() && run.save_logits && !has_logits(run.out, *config)) problem = "without --save-logits";
  if (!problem.empty()) refuse_finished(run, problem);
  // Left there by a kill after DONE; or of more epochs, or somebody's.
  const auto beside = checkpoint_beside_done(run);
  if (beside && difference(run, beside->recipe).empty()) unlink((run.out / kCheckpointFile).c_str());
  return true;
}

std::optional<Checkpoint> checkpoint_for(const RunOptions& run) {
  std::error_code error;
  if (run.resume && fs::exists(run.out / kDoneFile, error)) {
    check_writable(run.out);
    return last_checkpoint_for(run);
  }
  check_usable(run.out);
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
