// Streams and their captures, as the rest of the emulated runtime sees them.
#pragma once

#include <cuda_runtime.h>

#include <functional>

namespace simt {

/// Notes an error for cudaGetLastError(), and returns it.
cudaError_t result(cudaError_t error);

/// For calls that no stream sees, such as allocations: an error, and the end of the capture, if one is in
/// progress that is not relaxed and neither is the thread.
cudaError_t unsafe_call();

/// Refuses something on a stream for which is_captured(), which ends the capture.
cudaError_t refuse_in_capture(cudaStream_t stream);
/// Keeps the work of such a stream for the graph, unless the capture has failed already.
cudaError_t capture(cudaStream_t stream, cudaGraphNodeType type, std::function<void()> work);

}  // namespace simt
