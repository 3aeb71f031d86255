// Trains the network of the study with several normalizations and compares them.
//
//     compare_norms --data data/mnist --epochs 20 --norms bn,gn,ln,ln-row
//
// Batch norm has the recipe's L1 penalty. Each network is a run of train_mnist in a directory of its own, for
// example runs/study-20ep/gn-seed1/; a run that is finished already is not repeated. The table at the end
// also goes to runs/study-20ep/summary.csv. To expect after 20 epochs: bn-l1, gn and ln 99.2 to 99.5 %, which
// one seed does not tell apart, and ln-row 9.80 % with a test loss of ln 10 = 2.302585.
#include "console.h"
#include "options.h"
#include "program.h"
#include "run_directory.h"
#include "study.h"
#include "training.h"

namespace evenkeel::app {

void train_all(const std::vector<RunOptions>& runs, const std::filesystem::path& data) {
  const Mnist mnist = load_mnist(data);
  const Stopwatch clock;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const double left = clock.seconds() / static_cast<double>(i) * static_cast<double>(runs.size() - i);
    print_line(fmt::format("Run {} of {}: {}, seed {}{}", i + 1, runs.size(), runs[i].network(), runs[i].seed,
                           i > 0 ? fmt::format("; about {} left", duration(left)) : ""));
    train_run(runs[i], mnist);
  }
}

}  // namespace evenkeel::app

int main(int argc, char** argv) {
  using namespace evenkeel;
  return app::run_program("compare_norms", [&] {
    const auto study = app::parse_study_options(argc, argv);
    if (!study) return;  // --help
    if (study->run.threads > 0) set_num_threads(study->run.threads);
    const auto runs = app::runs_to_do(*study);
    if (!runs.empty()) app::train_all(runs, study->run.data);

    const auto networks = app::summarize(*study);
    app::write_text(study->run.out / "summary.csv", app::summary_csv(networks));
    app::print_line(app::summary_table(networks));
    app::print_line(fmt::format("Results: {}", (study->run.out / "summary.csv").string()));
  });
}
