#include "study.h"

#include <algorithm>
#include <cmath>

#include "console.h"
#include "cross_checks.h"
#include "evenkeel/core/files.h"
#include "evenkeel/nn/safetensors.h"
#include "locked_directory.h"
#include "resume.h"
#include "run_directory.h"
#include "statistics.h"

namespace evenkeel::app {
namespace {

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

/// What to do about a run of which a file is damaged.
std::string advice_for(const RunOptions& run) {
  return fmt::format("remove {}, so that the run is repeated", run.out.string());
}

/// Throws Error, naming the file, unless these are the weights of the run's network.
void check_weights(const RunOptions& run, const NamedTensors& state) {
  try {
    mnist::network(run.norm, run.groups).load_state_dict(state);
  } catch (const Error& e) {
    fail("{} does not fit the network ({})", (run.out / "model.safetensors").string(), e.what());
  }
}

RunResult read_run(const RunOptions& run) {
  const std::filesystem::path predictions = run.out / "predictions.csv", figures = run.out / "metrics.jsonl",
                              weights = run.out / "model.safetensors";
  const std::string advice = advice_for(run);
  RunResult r{run, {}, {}, {}, finished_config(run.out).value_or(nlohmann::json::object())};
  reading(figures, advice, [&] {
    r.rows = read_metrics(figures);
    if (r.rows.back().epoch != run.epochs || r.rows.back().split != "test")
      fail<Malformed>("does not end with the last epoch");
  });
  r.predictions = reading(predictions, advice, [&] { return read_predictions(predictions); });
  try {
    const NamedTensors state = load_safetensors(weights);
    check_weights(run, state);
    r.parameters = count_parameters(state);
  } catch (const Error& e) {
    fail<DataError>("{}, or {}", e.what(), advice);
  }
  cross_check(r);
  return r;
}

/// Throws DataError unless the run's predictions are of these images.
void check_labels(const RunResult& r, const std::vector<std::int64_t>& labels) {
  const auto same = [](const Prediction& p, std::int64_t label) { return p.label == label; };
  if (!std::equal(r.predictions.begin(), r.predictions.end(), labels.begin(), labels.end(), same)) {
    fail<DataError>("{} has other labels than the test images; {}", (r.run.out / "predictions.csv").string(),
                    advice_for(r.run));
  }
}

}  // namespace

std::vector<RunOptions> runs_to_do(const StudyOptions& study) {
  std::vector<RunOptions> to_do;
  const std::vector<RunOptions> runs = study.runs();
  for (const RunOptions& run : runs) {
    if (finished_before(run)) {
      read_run(run);  // refused now, not hours later
    } else {
      const LockedDirectory unused(run.out);  // refused now; others may have it until its turn comes
      checkpoint_for(run);
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

StudyResults read_results(const StudyOptions& study, const std::vector<FailedRun>& failed,
                          const data::Dataset& test) {
  const std::vector<std::int64_t> labels = test.labels().to_vector<std::int64_t>();
  const auto has_failed = [&](const RunOptions& run) {
    return std::any_of(failed.begin(), failed.end(),
                       [&](const FailedRun& one) { return one.run.out == run.out; });
  };
  const auto read = [&](const std::vector<RunOptions>& networks) {
    std::vector<NetworkResult> results;
    for (const RunOptions& network : networks) {
      NetworkResult one{network, {}};
      for (int i = 0; i < study.seeds; ++i) {
        const RunOptions run = study.run_of(network, i);
        if (has_failed(run)) continue;
        one.runs.push_back(read_run(run));
        check_labels(one.runs.back(), labels);
      }
      if (!one.runs.empty()) results.push_back(std::move(one));
    }
    return results;
  };
  return {study, read(study.networks()), read(study.batch_networks()), failed};
}

}  // namespace evenkeel::app
