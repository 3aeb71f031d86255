// For tests: what fresh memory is filled with.
#pragma once

namespace evenkeel {

/// The byte that fresh memory is filled with, 0 to 255; negative: it is left as it is. At the start the value
/// of EVENKEEL_POISON. set_memory_poison (core/storage.h) changes it, while no op runs.
extern int memory_poison_byte;

}  // namespace evenkeel
