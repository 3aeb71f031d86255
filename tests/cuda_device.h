// For tests that need a CUDA device, real or emulated.
#pragma once

#include "catch.h"
#include "evenkeel/core/device.h"

namespace evenkeel::test {

inline const Device kCuda = Device::cuda();

/// True, with a warning that says why, where there is no CUDA device: the test case then returns.
inline bool skipped() {
  if (cuda_devices().count > 0) return false;
  WARN("no CUDA device: " << cuda_devices().reason);
  return true;
}

}  // namespace evenkeel::test
