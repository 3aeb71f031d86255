// The time that each op takes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "evenkeel/core/device.h"

namespace evenkeel {

/// All calls of one op: a backend's function, "conv2d_forward" for example.
struct OpTime {
  std::string op;
  std::int64_t count = 0;
  double seconds = 0;
};

/// While one is alive, every op is timed: on the CPU by the clock, on a CUDA device by events before and
/// after its kernels, so that where the host enqueues more slowly than the device works, the wait for it is
/// part of the op. Ops of all threads count, but what is recorded for a CUDA graph does not. One at a time:
/// the constructor throws Error if there is one already.
class Profile {
 public:
  Profile();
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;
  /// The times of all ops so far, the longest first. Waits for the ops.
  std::vector<OpTime> times() const;
};

}  // namespace evenkeel
