// Scratch and shared memory of kernels, without CUDA's headers.
#pragma once

#include <cstdint>

#include "evenkeel/kernels/common.h"

namespace evenkeel::cuda {

/// Scratch memory on the stream's device, at least `bytes`, aligned to 256. It is the same for all kernels of
/// a stream: valid until the next call for that stream, so ask once per op. Grows by waiting for the device;
/// on a stream that is captured for a graph by another block, as the kernels captured so far have this one.
void* workspace(Stream stream, std::int64_t bytes);

/// Gives back all of a stream's, which is not used any more.
void release_workspace(Stream stream);

/// The bytes of shared memory, static and dynamic, that a block of the current device can have; 0 if there is
/// none.
std::int64_t most_shared_memory();

}  // namespace evenkeel::cuda
