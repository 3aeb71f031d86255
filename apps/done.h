// DONE, the last file of a run: what makes its results final.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "checkpoint.h"

namespace evenkeel::app {

/// DONE is the last checkpoint of the run with the SHA-256 of each result, a safetensors file: by the sums
/// damage is noticed, and from the state the run goes on if more epochs are asked for. Runs that were
/// finished by version 0.1.0 have the word "done" there and neither.
inline constexpr const char* kDoneFile = "DONE";

/// What a finished run consists of, besides DONE; logits.safetensors where it was asked for.
inline constexpr std::array<std::string_view, 8> kResultFiles = {
    "config.json",        "metrics.csv",     "metrics.jsonl",     "model.safetensors",
    "logits.safetensors", "predictions.csv", "misclassified.png", "confusion.csv"};

/// The SHA-256 of each result that is in the directory, by name. Throws Error if one cannot be read.
std::map<std::string, std::string> checksums_of_results(const std::filesystem::path& directory);

/// Throws DataError, naming the file and what to do, unless every result of the finished run in `directory`
/// is there as the run wrote it, and DONE is of the `recipe` that config.json has. If the run has no
/// checksums, it only checks that the results are there. Throws Interrupted on a signal.
void verify_results(const std::filesystem::path& directory, const nlohmann::json& recipe);

/// The last checkpoint of a finished run, from which it can go on to more epochs. Throws UsageError if it was
/// finished by a version that kept none, DataError if DONE is damaged.
Checkpoint load_last_checkpoint(const std::filesystem::path& directory);

}  // namespace evenkeel::app
