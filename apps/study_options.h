// The options of compare_norms: which networks a study trains.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "options.h"

namespace evenkeel::app {

/// Whether L1 acts on a network, and how.
enum class Penalty { off, subgradient, proximal };
std::string_view name_of(Penalty penalty);
/// The penalty of a network; off also if its strength is 0.
Penalty penalty_of(const RunOptions& network);
/// The reference's network, with any batch size: batch norm with the subgradient penalty.
bool is_l1_batch_norm(const RunOptions& network);

/// The strength of the study's penalties, unless --l1 says otherwise.
inline constexpr double kL1 = 1e-5;

/// A matrix of networks, each with the seeds run.seed, run.seed + 1, ... The same seed gives all of them the
/// same order of images, rotations and first convolution weights.
struct StudyOptions {
  std::string command;  ///< with which the program was called, for a shell
  RunOptions run;       ///< what they have in common; out is the directory of the study
  std::vector<mnist::Norm> norms = {mnist::Norm::bn, mnist::Norm::gn, mnist::Norm::ln, mnist::Norm::ln_row};
  std::vector<Penalty>
      penalties;  ///< for every norm that can learn; empty: subgradient for bn, none for the others
  std::vector<std::int64_t> batch_sizes;
  std::vector<mnist::Norm> batch_norms = {mnist::Norm::bn, mnist::Norm::gn, mnist::Norm::ln};
  int batch_epochs = 3;
  int seeds = 1;
  int jobs =
      1;  ///< runs that are trained side by side, each in a process of its own; more than 1 only on the CPU

  /// norms x penalties, each as its run with the first seed.
  std::vector<RunOptions> networks() const;
  /// batch_sizes x batch_norms, without a penalty: batch_epochs epochs, the learning rate in proportion to
  /// the batch size and dropped after every epoch.
  std::vector<RunOptions> batch_networks() const;
  /// One of them with the i-th seed, in a directory whose name has the hash of its recipe.
  RunOptions run_of(const RunOptions& network, int i) const;
  /// All runs, each once, seed by seed: where a study is stopped, its networks have the same seeds but one.
  std::vector<RunOptions> runs() const;
};

/// Like parse_train_options.
std::optional<StudyOptions> parse_study_options(int argc, char** argv);

}  // namespace evenkeel::app
