// The error of memory that ran out, which is not the fault of a shape or a dtype.
#pragma once

#include "evenkeel/core/error.h"

namespace evenkeel {

/// Memory, of the CPU or of a device, that was asked for and is not there.
struct OutOfMemory : Error {
  using Error::Error;
};

}  // namespace evenkeel
