// What train_mnist does, whatever the data are: tests give it few images.
#pragma once

#include <functional>

#include "options.h"
#include "training.h"

namespace evenkeel::app {

/// Reads the command line, trains one network on the data that `load` returns, and says where the results
/// are. The run directory is locked from before the data are read until the end. Throws whatever
/// parse_train_options, checkpoint_for, `load` and train_run throw.
void train_program(int argc, char** argv, const std::function<Mnist(const RunOptions&)>& load);

}  // namespace evenkeel::app
