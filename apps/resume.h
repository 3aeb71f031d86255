// What a run finds in its directory before it starts: nothing, an unfinished run, or a finished one.
#pragma once

#include <optional>

#include "checkpoint.h"
#include "options.h"

namespace evenkeel::app {

/// Throws UsageError if the run is to continue what is there, must not start by itself, and there is nothing.
void require_run_to_resume(const RunOptions& run);

/// True if the directory holds this very run, finished, and its results are as it wrote them; what is left of
/// its checkpoint is removed. False too if it is to go on to more epochs. Throws UsageError, naming the
/// difference, if it holds a finished run of another recipe, or one without the files that are asked for;
/// DataError, naming the file, if a result is damaged.
bool finished_before(const RunOptions& run);

/// The checkpoint that the run continues from; nothing if it starts from the beginning. With --resume a
/// finished run goes on to more epochs. Throws UsageError if the run would overwrite what is there: a
/// finished run, a checkpoint without --resume or of another recipe, what is no checkpoint beside DONE, files
/// that are not of a run; DataError if the checkpoint cannot be used.
std::optional<Checkpoint> checkpoint_for(const RunOptions& run);

}  // namespace evenkeel::app
