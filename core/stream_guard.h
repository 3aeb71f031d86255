// Ops on another stream than the device's own: for recording graphs, and for tests.
#pragma once

#include "evenkeel/core/cuda.h"

namespace evenkeel {

/// While one is alive, ops of this thread on the stream's device are enqueued there. Memory allocated
/// meanwhile belongs to that stream: before another stream uses it, synchronize().
class StreamGuard {
 public:
  explicit StreamGuard(const CudaStream& stream);
  ~StreamGuard();
  StreamGuard(const StreamGuard&) = delete;
  StreamGuard& operator=(const StreamGuard&) = delete;

 private:
  int device_;
  Stream before_;
};

}  // namespace evenkeel
