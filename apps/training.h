// Training one network, from its options to its run directory.
#pragma once

#include <memory>

#include "evaluation.h"
#include "evenkeel/nn/data.h"
#include "options.h"
#include "run_directory.h"

namespace evenkeel::app {

struct Mnist {
  data::Dataset train, test;
};
/// The data set of a run. Throws DataError unless all four files are there and intact.
Mnist load_data(const RunOptions& options);

/// Trains, evaluates after every epoch and writes everything to options.out, a checkpoint and metrics after
/// every epoch and DONE last; says on stdout how it goes. Continues from a checkpoint that is there. Returns
/// the evaluation of the final weights. Throws NonFiniteError; Interrupted, once the checkpoint is saved;
/// UsageError if options.weights do not fit the network; and whatever RunDirectory and checkpoint_for throw.
/// `directory` is options.out, if the caller has locked that already.
Evaluation train_run(const RunOptions& options, const Mnist& mnist,
                     std::unique_ptr<RunDirectory> directory = nullptr);

/// The same for several runs at a time, inside one kernel: of networks with the same norm, groups, batch size
/// and epochs. If the loss of one is not finite, none goes on.
void train_together(const std::vector<RunOptions>& options, const Mnist& mnist);

}  // namespace evenkeel::app
