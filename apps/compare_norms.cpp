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
#include <map>
#include <optional>

#include "console.h"
#include "jobs.h"
#include "locked_directory.h"
#include "one_kernel_engine.h"
#include "program.h"
#include "report/limits.h"
#include "report/report.h"
#include "report/report_directory.h"
#include "resume.h"
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
             static_cast<int>(group.size()) < OneKernelEngine::most_runs(o.device);
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

/// Trains the runs of a group together or, if the loss of one is not finite, one by one, which the others
/// need not suffer. Returns those that failed.
std::vector<FailedRun> train_group(const std::vector<RunOptions>& group, const Mnist& mnist) {
  std::vector<FailedRun> failed;
  if (group.size() > 1) {
    try {
      train_together(group, mnist);
      return failed;
    } catch (const NonFiniteError& e) {
      print_line(fmt::format("{}: the runs go on one by one", e.what()));
    }
  }
  for (const RunOptions& run : group) {
    try {
      if (!finished_before(run)) train_run(run, mnist);
    } catch (const NonFiniteError& e) {
      print_line(fmt::format("{}; the study goes on without this run", e.what()));
      failed.push_back({run, e.what()});
    }
  }
  return failed;
}

/// Says where a study is: the runs that are left of `all`, and how long they may take.
class StudyProgress {
 public:
  StudyProgress(std::size_t left, std::size_t all) : first_(all - left), all_(all) {}

  /// Runs that begin, `done` after the first that is left.
  void begin(const std::vector<RunOptions>& runs, std::size_t done) const {
    const std::size_t number = first_ + done + 1;
    const std::string numbers =
        runs.size() == 1 ? fmt::format("Run {} of {}", number, all_)
                         : fmt::format("Runs {} to {} of {}", number, number + runs.size() - 1, all_);
    const std::string seeds = runs.size() == 1 ? fmt::format(", seed {}", runs.front().seed) : "";
    print_line(fmt::format("{}: {}{}{}", numbers, runs.front().network(), seeds,
                           ended_ > 0 ? fmt::format("; about {} left", duration(seconds_left())) : ""));
  }
  void end(std::size_t count) { ended_ += count; }

 private:
  double seconds_left() const {
    return clock_.seconds() / static_cast<double>(ended_) * static_cast<double>(all_ - first_ - ended_);
  }

  std::size_t first_, all_, ended_ = 0;
  Stopwatch clock_;
};

/// The runs that are left of `all`, in this process; returns those that failed.
std::vector<FailedRun> train(const std::vector<RunOptions>& runs, std::size_t all, const Mnist& mnist) {
  StudyProgress progress(runs.size(), all);
  std::vector<FailedRun> failed;
  std::size_t done = 0;
  for (const std::vector<RunOptions>& group : in_groups(runs)) {
    progress.begin(group, done);
    for (FailedRun& one : train_group(group, mnist)) failed.push_back(std::move(one));
    done += group.size();
    progress.end(group.size());
  }
  return failed;
}

/// The same in a child process a run, `jobs` at a time, which share the threads. A run whose process crashes
/// fails alone. Throws the first other error, when the runs that have begun are over.
std::vector<FailedRun> train_side_by_side(const std::vector<RunOptions>& runs, std::size_t all,
                                          std::size_t jobs, const Mnist& mnist) {
  StudyProgress progress(runs.size(), all);
  std::map<std::size_t, FailedRun> failed;  // in the order of the runs
  std::optional<JobEnd> error;
  const int threads = std::max(1, num_threads() / static_cast<int>(jobs));
  run_jobs(
      runs.size(), jobs,
      [&](std::size_t i) {
        set_num_threads(threads);
        RunOptions run = runs[i];
        run.quiet = true;
        if (!finished_before(run)) train_run(run, mnist);
      },
      [&](std::size_t i) { progress.begin({runs[i]}, i); },
      [&](std::size_t i, const JobEnd& end) {
        progress.end(1);
        if (end.exit_code == kOk) {
          print_line(fmt::format("Finished: {}", runs[i].out.string()));
        } else if (end.exit_code == kNonFiniteLoss || end.crashed) {
          print_line(fmt::format("{}; the study goes on without this run", end.message));
          failed[i] = {runs[i], end.message};
        } else if (!error) {
          error = end;
        }
        return !error;
      });
  if (error && error->exit_code == kUsage) throw UsageError(error->message);
  if (error && error->exit_code == kDataMissing) throw DataError(error->message);
  if (error) throw Error(error->message);
  std::vector<FailedRun> all_failed;
  for (auto& [i, run] : failed) all_failed.push_back(std::move(run));
  return all_failed;
}

Findings find(const StudyOptions& study, const std::vector<FailedRun>& failed, const Mnist& mnist) {
  constexpr std::int64_t kDiagnosisSteps = 200;
  const std::int64_t most = study.run.max_steps;
  const auto steps = static_cast<int>(most > 0 ? std::min(most, kDiagnosisSteps) : kDiagnosisSteps);
  Findings f{
      read_results(study, failed, mnist.test), {}, {}, diagnose_layer_norm(study.run, mnist.train, steps)};
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
    const app::LockedDirectory lock(
        study->run.out);  // no other study writes runs or a report there meanwhile
    const auto report = study->run.out / "report";
    app::check_report_directory(report);  // refused now, not hours later
    const auto runs = app::runs_to_do(*study);
    const app::Mnist mnist = app::load_data(study->run);
    const std::size_t all = study->runs().size(), jobs = std::min<std::size_t>(study->jobs, runs.size());
    const auto failed =
        jobs > 1 ? app::train_side_by_side(runs, all, jobs, mnist) : app::train(runs, all, mnist);

    const app::Findings findings = app::find(*study, failed, mnist);
    lock.require_in_place();
    app::write_report(report, findings, mnist.test);
    app::print_line(app::summary_table(findings.results.networks));
    const std::vector<std::string> limits = app::limits(findings);
    if (!limits.empty()) app::print_line(fmt::format("Cut short: {}", fmt::join(limits, "; ")));
    app::print_line(fmt::format("Report: {}", (report / "index.html").string()));
    if (!failed.empty()) {
      fail<app::NonFiniteError>("{} of {} runs failed, and the report is of the others: {}", failed.size(),
                                study->runs().size(), failed.front().why);
    }
  });
}
