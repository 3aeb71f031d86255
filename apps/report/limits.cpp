#include "report/limits.h"

#include <algorithm>

namespace evenkeel::app {
namespace {

std::string counted(std::int64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::int64_t steps_of_epoch(std::int64_t batch_size) { return (kTrainImages + batch_size - 1) / batch_size; }

/// Fewer epochs, steps or images than the recipe has.
void add_short_training(const StudyOptions& study, std::vector<std::string>& all) {
  const RunOptions recipe;
  const RunOptions& run = study.run;
  if (run.epochs < recipe.epochs)
    all.push_back(fmt::format("{}, not the {} of the recipe", counted(run.epochs, "epoch"), recipe.epochs));
  if (!study.batch_sizes.empty() && study.batch_epochs < StudyOptions().batch_epochs) {
    all.push_back(fmt::format("{} for each batch size, not {}", counted(study.batch_epochs, "epoch"),
                              StudyOptions().batch_epochs));
  }
  std::int64_t smallest = run.batch_size;
  for (const std::int64_t size : study.batch_sizes) smallest = std::min(smallest, size);
  for (const std::int64_t size : {run.batch_size, smallest}) {
    if (run.max_steps == 0 || run.max_steps >= steps_of_epoch(size)) continue;
    all.push_back(fmt::format("every epoch ends after {} of its {} steps{}", run.max_steps,
                              steps_of_epoch(size),
                              size == run.batch_size ? "" : fmt::format(" with batches of {}", size)));
    break;
  }
  if (run.test_images > 0 && run.test_images < kTestImages)
    all.push_back(fmt::format("tested on the first {} of {} images", run.test_images, kTestImages));
}

/// Fewer seeds than a verdict or an interval takes.
void add_few_seeds(const Findings& f, std::vector<std::string>& all) {
  const auto without_verdict = [](const Comparison& c) {
    return c.verdict == Verdict::too_few_seeds || c.verdict == Verdict::not_tested;
  };
  int needed = 0;
  for (const auto* comparisons : {&f.comparisons, &f.batch_comparisons}) {
    if (std::any_of(comparisons->begin(), comparisons->end(), without_verdict))
      needed = std::max(needed, pairs_for_verdict(static_cast<int>(comparisons->size())));
  }
  const int seeds = f.results.study.seeds;
  const std::size_t made = f.comparisons.size() + f.batch_comparisons.size();
  std::vector<std::string> parts;
  if (seeds < needed)
    parts.push_back(fmt::format("a verdict takes {} where so many pairs are compared", needed));
  if (seeds < static_cast<int>(kLeastForInterval))
    parts.push_back(fmt::format("an interval takes {}", kLeastForInterval));
  if (!parts.empty()) all.push_back(fmt::format("{}: {}", counted(seeds, "seed"), fmt::join(parts, ", ")));
  if (made == 0) all.push_back("no pair of networks to compare");
}

void add_failed(const StudyResults& results, std::vector<std::string>& all) {
  if (results.failed.empty()) return;
  std::vector<std::string> names;
  for (const FailedRun& failed : results.failed)
    names.push_back(fmt::format("{} with seed {}", failed.run.network(), failed.run.seed));
  all.push_back(fmt::format("{} of {} failed, {}: {}", results.failed.size(),
                            counted(std::ssize(results.study.runs()), "run"), results.failed.front().why,
                            fmt::join(names, ", ")));
}

}  // namespace

std::vector<std::string> limits(const Findings& f) {
  std::vector<std::string> all;
  add_short_training(f.results.study, all);
  add_few_seeds(f, all);
  add_failed(f.results, all);
  return all;
}

}  // namespace evenkeel::app
