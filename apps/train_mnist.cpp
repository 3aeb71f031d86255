// Trains the network of the study on MNIST with one normalization.
//
//     train_mnist --data data/mnist --norm bn --l1 1e-5
//
// The files of MNIST are those of data/mnist/, plain or .gz. Results go to runs/bn-l1-seed1/: the figures of
// each epoch, the weights, the predictions for the 10,000 test images, and a picture of those that are wrong.
// A run that was stopped or killed goes on, to the same bits, with --resume added to its command.
// To expect: after one epoch about 98 % of the test images right, after 20 epochs 99.2 to 99.5 %, with batch,
// group or layer norm alike. With --norm ln-row the loss stays at ln 10 = 2.302585: the mean over a plane
// whose rows all have mean zero is zero, so the network says the same of every image. Likewise with --norm
// in, whose planes have a learned mean.
#include "console.h"
#include "options.h"
#include "program.h"
#include "resume.h"
#include "training.h"

int main(int argc, char** argv) {
  using namespace evenkeel;
  return app::run_program("train_mnist", [&] {
    const auto options = app::parse_train_options(argc, argv);
    if (!options) return;  // --help
    if (options->threads > 0) set_num_threads(options->threads);
    if (options->resume && app::finished_before(*options)) {
      app::print_line(fmt::format("Results: {}, finished before", options->out.string()));
      return;
    }
    if (!app::checkpoint_for(*options) && options->resume) {
      app::print_line(fmt::format("No checkpoint in {}: starting from the beginning", options->out.string()));
    }
    const app::Mnist mnist = app::load_data(*options);
    const app::Evaluation test = app::train_run(*options, mnist);
    app::print_line(fmt::format("Results: {} ({} of {} test images misclassified)", options->out.string(),
                                test.misclassified().size(), test.images()));
  });
}
