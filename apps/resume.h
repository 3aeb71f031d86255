// What a run finds in its directory before it starts: nothing, an unfinished run, or a finished one.
#pragma once

#include <optional>

#include "checkpoint.h"
#include "options.h"

namespace evenkeel::app {

/// True if the directory holds this very run, finished; what is left of a checkpoint is removed. Throws
/// UsageError, naming the difference, if it holds a finished run of another recipe, or one without the files
/// that are asked for.
bool finished_before(const RunOptions& run);

/// The checkpoint that the run continues from; nothing if it starts from the beginning. Throws UsageError if
/// the run would overwrite what is there: a finished run, a checkpoint without --resume or of another recipe,
/// files that are not of a run; DataError if the checkpoint cannot be used.
std::optional<Checkpoint> checkpoint_for(const RunOptions& run);

}  // namespace evenkeel::app
