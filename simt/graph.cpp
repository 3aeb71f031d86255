// Streams, stream capture and graphs of the emulated runtime. As with the real one, whatever cannot be part
// of a graph invalidates the capture: each later use of the stream fails, and so does its end.
//
//   refused on a stream that is captured        synchronisation, copies from or to pageable memory, launches
//   of
//                                               graphs (the real runtime makes a child node of those)
//   refused while a capture is in progress      allocating and freeing, waiting for events, unless the
//   thread's
//                                               mode is relaxed; the null stream, if the one captured blocks
#include "evenkeel/simt/graph.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

struct CUgraphNode_st {
  cudaGraphNodeType type;
  std::function<void()> work;
};
using Nodes = std::vector<std::shared_ptr<CUgraphNode_st>>;
struct CUgraph_st {
  Nodes nodes;
};
struct CUgraphExec_st {
  Nodes nodes;
};

struct CUstream_st {
  bool blocking;  // waits for the null stream, and that for it
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  Nodes nodes{};  // captured so far
};

namespace {

std::vector<cudaStream_t> captured;  // the streams whose capture is in progress, failed or not
cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

cudaError_t invalidate(cudaStream_t stream, cudaError_t error) {
  if (std::exchange(stream->status, cudaStreamCaptureStatusInvalidated) == cudaStreamCaptureStatusInvalidated)
    error = cudaErrorStreamCaptureInvalidated;
  stream->nodes.clear();
  return simt::result(error);
}

/// The stream whose capture forbids using the null stream, or null.
cudaStream_t captured_blocking_stream() {
  const auto found =
      std::find_if(captured.begin(), captured.end(), [](cudaStream_t s) { return s->blocking; });
  return found == captured.end() ? nullptr : *found;
}

}  // namespace

namespace simt {

bool is_captured(cudaStream_t stream) {
  if (stream == nullptr) return captured_blocking_stream() != nullptr;
  return stream->status != cudaStreamCaptureStatusNone;
}

cudaError_t unsafe_call() {
  if (thread_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  cudaError_t error = cudaSuccess;
  for (const cudaStream_t stream : captured) {
    if (stream->mode != cudaStreamCaptureModeRelaxed)
      error = invalidate(stream, cudaErrorStreamCaptureUnsupported);
  }
  return error;
}

cudaError_t refuse_in_capture(cudaStream_t stream) {
  return stream == nullptr ? invalidate(captured_blocking_stream(), cudaErrorStreamCaptureImplicit)
                           : invalidate(stream, cudaErrorStreamCaptureUnsupported);
}

cudaError_t capture(cudaStream_t stream, cudaGraphNodeType type, std::function<void()> work) {
  if (stream == nullptr || stream->status == cudaStreamCaptureStatusInvalidated)
    return refuse_in_capture(stream);
  stream->nodes.push_back(std::make_shared<CUgraphNode_st>(CUgraphNode_st{type, std::move(work)}));
  return cudaSuccess;
}

void capture_kernel(cudaStream_t stream, std::function<void()> kernel) {
  capture(stream, cudaGraphNodeTypeKernel, std::move(kernel));
}

}  // namespace simt

using simt::result;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  *stream = new CUstream_st{flags != cudaStreamNonBlocking};
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  std::erase(captured, stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (stream == nullptr) return result(cudaErrorStreamCaptureUnsupported);
  if (simt::is_captured(stream)) return invalidate(stream, cudaErrorStreamCaptureUnsupported);
  stream->status = cudaStreamCaptureStatusActive;
  stream->mode = mode;
  captured.push_back(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (stream == nullptr || stream->status == cudaStreamCaptureStatusNone)
    return result(cudaErrorStreamCaptureUnmatched);
  const auto status = std::exchange(stream->status, cudaStreamCaptureStatusNone);
  std::erase(captured, stream);
  if (status == cudaStreamCaptureStatusInvalidated) return result(cudaErrorStreamCaptureInvalidated);
  *graph = new CUgraph_st{std::exchange(stream->nodes, {})};
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = stream == nullptr ? cudaStreamCaptureStatusNone : stream->status;
  return stream == nullptr && simt::is_captured(stream) ? result(cudaErrorStreamCaptureImplicit)
                                                        : cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(thread_mode, *mode);
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  if (nodes == nullptr) {
    *count = graph->nodes.size();
    return cudaSuccess;
  }
  *count = std::min(*count, graph->nodes.size());
  for (std::size_t i = 0; i < *count; ++i) nodes[i] = graph->nodes[i].get();
  return cudaSuccess;
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type) {
  *type = node->type;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new CUgraphExec_st{graph->nodes};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (simt::is_captured(stream)) return simt::refuse_in_capture(stream);
  for (const auto& node : exec->nodes) node->work();
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
