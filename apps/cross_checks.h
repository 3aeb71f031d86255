// Whether the files of a run tell the same: what checksums do not show of runs that have none.
#pragma once

#include "study.h"

namespace evenkeel::app {

/// Throws DataError, naming the file and what to do, unless the last figures of metrics.jsonl are those that
/// predictions.csv gives, accuracy and loss, and model.safetensors, sum |p| and zeros.
void cross_check(const RunResult& run);

}  // namespace evenkeel::app
