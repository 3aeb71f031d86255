// Networks of a study compared with each other, paired by seed.
#pragma once

#include <string_view>

#include "statistics.h"
#include "study.h"

namespace evenkeel::app {

enum class Verdict { a, b, no_difference, too_few_seeds, not_tested };
std::string_view name_of(Verdict verdict);

/// Networks a and b, by the seeds that both have runs of: with the same images in the same order.
struct Comparison {
  const NetworkResult *a, *b;
  int seeds = 0;                  ///< that both have; without any, all that follows is NaN or 0
  Summary difference;             ///< over the seeds: accuracy of a minus accuracy of b, in percentage points
  double p_sign_flip = 1;         ///< sign_flip_p of the misclassified images
  double p_holm = 1;              ///< adjusted over all comparisons that are made together
  double smallest_p = 1;          ///< that p_holm can be with so many seeds and comparisons
  std::int64_t a_only_right = 0;  ///< predictions, of all seeds together, that only a has right
  std::int64_t b_only_right = 0;
  double p_mcnemar = 1;  ///< on these. Seeds share the test images: it says nothing beyond these images.
  /// a or b: more accurate, p_holm below kLevel. too_few_seeds: p_holm cannot be below it. not_tested: there
  /// is no seed that both have.
  Verdict verdict = Verdict::no_difference;
};

/// Those that the study is made for, few, as each costs power: networks without a penalty pairwise; with a
/// penalty against the same norm without; the recipe's L1 + batch norm against the others without.
std::vector<Comparison> compare(const std::vector<NetworkResult>& networks);
/// Norms pairwise at each batch size.
std::vector<Comparison> compare_at_batch_sizes(const std::vector<NetworkResult>& networks);

/// A table to print, beside the figures of the study's reference.
std::string summary_table(const std::vector<NetworkResult>& networks);

/// What the study's reference, PyTorch on a Colab GPU, has after 20 epochs with one seed.
struct Reference {
  const char* network;
  double loss, accuracy_percent;
  int misclassified;
  double seconds_per_epoch;
};
/// Nothing for networks and data sets that it does not have.
const Reference* reference_for(const RunOptions& network);

}  // namespace evenkeel::app
