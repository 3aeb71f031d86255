// Trains the network of the study with several normalizations and compares them.
//
//     compare_norms --data data/mnist --epochs 20 --norms bn,gn,ln,ln-row
//
// Batch norm has the recipe's L1 penalty, unless --penalties says otherwise. Each network is a run of
// train_mnist in a directory of its own, for example runs/mnist-20ep/gn-seed1-<hash of its options>/; a run
// that is finished already is not repeated. The report is runs/mnist-20ep/report/index.html. To expect after
// 20 epochs: bn-l1, gn and ln 99.2 to 99.5 %, which one seed does not tell apart, and ln-row 9.80 % with a
// loss of ln 10 = 2.302585.
#include <algorithm>

#include "console.h"
#include "nn/train_net.h"
#include "program.h"
#include "report/report.h"
#include "run_directory.h"
#include "study.h"
#include "training.h"

namespace evenkeel::app {

/// The runs that are trained at a time: inside one kernel, those with the same kind of norm and batch size;
/// else single ones.
std::vector<std::vector<RunOptions>> in_groups(const std::vector<RunOptions>& runs) {
  std::vector<std::vector<RunOptions>> groups;
  for (const RunOptions& run : runs) {
    const auto fits = [&](const std::vector<RunOptions>& group) {
      const RunOptions& o = group.front();
      return o.engine != Engine::layers && o.norm == run.norm && o.groups == run.groups &&
             o.batch_size == run.batch_size && o.epochs == run.epochs &&
             static_cast<int>(group.size()) < NetTrainer::most_networks(o.device);
    };
    const auto group = std::find_if(groups.begin(), groups.end(), fits);
    if (group == groups.end()) {
      groups.push_back({run});
    } else {
      group->push_back(run);
    }
  }
  return groups;
}

/// The runs that are left of `all`.
void train(const std::vector<RunOptions>& runs, std::size_t all, const Mnist& mnist) {
  const Stopwatch clock;
  std::size_t done = 0;
  for (const std::vector<RunOptions>& group : in_groups(runs)) {
    const auto left = [&] {
      return clock.seconds() / static_cast<double>(done) * static_cast<double>(runs.size() - done);
    };
    const std::size_t number = all - runs.size() + done + 1;
    const std::string numbers =
        group.size() == 1 ? fmt::format("Run {} of {}", number, all)
                          : fmt::format("Runs {} to {} of {}", number, number + group.size() - 1, all);
    const std::string seeds = group.size() == 1 ? fmt::format(", seed {}", group.front().seed) : "";
    print_line(fmt::format("{}: {}{}{}", numbers, group.front().network(), seeds,
                           done > 0 ? fmt::format("; about {} left", duration(left())) : ""));
    if (group.size() == 1) {
      train_run(group.front(), mnist);
    } else {
      train_together(group, mnist);
    }
    done += group.size();
  }
}

Findings find(const StudyOptions& study, const data::Dataset& train) {
  constexpr std::int64_t kDiagnosisSteps = 200;
  const std::int64_t most = study.run.max_steps;
  const auto steps = static_cast<int>(most > 0 ? std::min(most, kDiagnosisSteps) : kDiagnosisSteps);
  Findings f{read_results(study), {}, {}, diagnose_layer_norm(study.run, train, steps)};
  f.comparisons = compare(f.results.networks);
  f.batch_comparisons = compare_at_batch_sizes(f.results.batch_networks);
  return f;
}

}  // namespace evenkeel::app

int main(int argc, char** argv) {
  using namespace evenkeel;
  return app::run_program("compare_norms", [&] {
    const auto study = app::parse_study_options(argc, argv);
    if (!study) return;  // --help
    if (study->run.threads > 0) set_num_threads(study->run.threads);
    const auto runs = app::runs_to_do(*study);
    const app::Mnist mnist = app::load_data(study->run);
    app::train(runs, study->runs().size(), mnist);

    const app::Findings findings = app::find(*study, mnist.train);
    const auto report = study->run.out / "report";
    app::write_report(report, findings, mnist.test);
    app::print_line(app::summary_table(findings.results.networks));
    app::print_line(fmt::format("Report: {}", (report / "index.html").string()));
  });
}
