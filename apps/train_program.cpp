#include "train_program.h"

#include "checksum.h"
#include "console.h"
#include "resume.h"
#include "run_directory.h"

namespace evenkeel::app {

void train_program(int argc, char** argv, const std::function<Mnist(const RunOptions&)>& load) {
  auto options = parse_train_options(argc, argv);
  if (!options) return;  // --help
  if (options->threads > 0) set_num_threads(options->threads);
  require_run_to_resume(*options);
  const std::string out = options->out.string();
  if (!options->weights.empty()) {
    check_weights_stay(options->weights, options->out);
    options->weights_sha256 = sha256_of_weights(options->weights);
  }
  auto directory = std::make_unique<RunDirectory>(options->out);
  if (options->resume && finished_before(*options)) {
    print_line(fmt::format("Results: {}, finished before", out));
    return;
  }
  if (!checkpoint_for(*options) && options->resume) {
    print_line(fmt::format("No checkpoint in {}: starting from the beginning", out));
  }
  const Mnist mnist = load(*options);
  const Evaluation test = train_run(*options, mnist, std::move(directory));
  print_line(fmt::format("Results: {} ({} of {} test images misclassified)", out, test.misclassified().size(),
                         test.images()));
}

}  // namespace evenkeel::app
