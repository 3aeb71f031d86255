#include "study.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>

#include "console.h"
#include "nn/safetensors.h"
#include "resume.h"
#include "statistics.h"

namespace evenkeel::app {
namespace {

[[noreturn]] void damaged(const std::filesystem::path& file, std::string_view problem) {
  fail<DataError>("{} {}: remove {}, so that the run is repeated", file.string(), problem,
                  file.parent_path().string());
}

std::vector<Prediction> read_predictions(const std::filesystem::path& csv) {
  std::ifstream in(csv);
  std::vector<Prediction> all;
  std::string line;
  std::getline(in, line);  // the names of the columns
  while (std::getline(in, line)) {
    std::size_t index = 0;
    Prediction p;
    const int read = std::sscanf(line.c_str(), "%zu,%d,%d,%lf,%lf", &index, &p.label, &p.predicted,
                                 &p.p_label, &p.p_predicted);
    const auto is_class = [](int c) { return 0 <= c && c < 10; };
    if (read != 5 || index != all.size() || !is_class(p.label) || !is_class(p.predicted))
      damaged(csv, fmt::format("has no prediction of image {} in line {}", all.size(), all.size() + 2));
    all.push_back(p);
  }
  return all;
}

void count(ParameterCounts& c, const Tensor& values) {
  for (const float v : values.to_vector<float>()) {
    ++c.count;
    c.zero += v == 0;
    c.small += std::abs(v) < 1e-3F;
    c.l1 += std::abs(static_cast<double>(v));
  }
}

std::vector<ParameterCounts> count_parameters(const NamedTensors& state) {
  std::vector<ParameterCounts> kinds = {{"conv"}, {"gamma"}, {"beta"}};
  for (const auto& [name, value] : state) {
    const bool weight = name.ends_with(".weight"), bias = name.ends_with(".bias");
    if (weight || bias) count(kinds[value.rank() == 4 ? 0 : weight ? 1 : 2], value);
  }
  std::erase_if(kinds, [](const ParameterCounts& c) { return c.count == 0; });
  return kinds;
}

RunResult read_run(const RunOptions& run) {
  const std::filesystem::path predictions = run.out / "predictions.csv", figures = run.out / "metrics.jsonl";
  RunResult r{run, {}, read_predictions(predictions), {}};
  try {
    r.rows = read_metrics(figures);
    r.parameters = count_parameters(load_safetensors(run.out / "model.safetensors"));
  } catch (const Error& e) {
    fail<DataError>("{}: remove {}, so that the run is repeated", e.what(), run.out.string());
  }
  const Metrics& last = r.rows.back();
  const auto images = static_cast<double>(r.predictions.size());
  if (last.split != "test" || last.epoch != run.epochs) damaged(figures, "does not end with the last epoch");
  if (std::llround((1 - last.accuracy) * images) != r.misclassified() || images == 0)
    damaged(predictions, "does not have the accuracy of metrics.jsonl");
  return r;
}

}  // namespace

std::vector<RunOptions> runs_to_do(const StudyOptions& study) {
  std::vector<RunOptions> to_do;
  const std::vector<RunOptions> runs = study.runs();
  for (const RunOptions& run : runs) {
    if (finished_before(run)) {
      read_run(run);  // refused now, not hours later
    } else {
      checkpoint_for(run);  // likewise
      to_do.push_back(run);
    }
  }
  if (const std::size_t finished = runs.size() - to_do.size(); finished > 0) {
    print_line(fmt::format("Using {} of {} runs in {}, finished before", finished, runs.size(),
                           study.run.out.string()));
  }
  return to_do;
}

std::int64_t RunResult::misclassified() const {
  return std::count_if(predictions.begin(), predictions.end(),
                       [](const Prediction& p) { return !p.right(); });
}

double RunResult::seconds_per_epoch() const {
  std::vector<double> seconds;
  for (const Metrics& row : rows) {
    if (row.split == "train") seconds.push_back(row.seconds);
  }
  return median(seconds);
}

StudyResults read_results(const StudyOptions& study) {
  const auto read = [&](const std::vector<RunOptions>& networks) {
    std::vector<NetworkResult> results;
    for (const RunOptions& network : networks) {
      results.push_back({network, {}});
      for (int i = 0; i < study.seeds; ++i) results.back().runs.push_back(read_run(study.run_of(network, i)));
    }
    return results;
  };
  return {study, read(study.networks()), read(study.batch_networks())};
}

}  // namespace evenkeel::app
