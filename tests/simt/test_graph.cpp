// Stream capture and graphs of the emulated runtime: what a replay does, and everything that a capture
// refuses.
#include <cuda_runtime.h>

#include <functional>

#include "catch.h"
#include "simt/device_array.h"

using namespace simt::test;

namespace {

__global__ void add(int* y, const int* x, int k) { y[threadIdx.x] += x[threadIdx.x] + k; }

/// A stream, and what was captured on it.
class Capture {
 public:
  explicit Capture(unsigned flags = cudaStreamNonBlocking) { cudaStreamCreateWithFlags(&stream, flags); }
  ~Capture() {
    if (exec != nullptr) cudaGraphExecDestroy(exec);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
    cudaGetLastError();
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  cudaError_t begin(cudaStreamCaptureMode mode = cudaStreamCaptureModeThreadLocal) const {
    return cudaStreamBeginCapture(stream, mode);
  }
  cudaError_t end() { return cudaStreamEndCapture(stream, &graph); }
  cudaStreamCaptureStatus status() const {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    cudaStreamIsCapturing(stream, &status);
    return status;
  }
  void launch_add(const DeviceArray<int>& y, const DeviceArray<int>& x, int k) const {
    simt::launch({"add", {1, 1, 1}, {4, 1, 1}, 0, stream}, add, y.data(), x.data(), k);
  }

  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
};

}  // namespace

TEST_CASE("what is captured runs when the graph is launched, and each time") {
  const DeviceArray<int> x(iota<int>(4)), y(std::vector<int>(4, 0)), z(std::vector<int>(4, -1));
  Capture c;
  REQUIRE(c.begin() == cudaSuccess);
  CHECK(c.status() == cudaStreamCaptureStatusActive);
  int k = 10;
  c.launch_add(y, x, k);
  k = 1000;  // arguments are those of the capture
  c.launch_add(y, x, 1);
  CHECK(cudaMemcpyAsync(z.data(), y.data(), 16, cudaMemcpyDeviceToDevice, c.stream) == cudaSuccess);
  REQUIRE(c.end() == cudaSuccess);
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(c.status() == cudaStreamCaptureStatusNone);
  CHECK(y.values() == std::vector<int>(4, 0));
  CHECK(z.values() == std::vector<int>(4, -1));

  std::size_t count = 0;
  CHECK(cudaGraphGetNodes(c.graph, nullptr, &count) == cudaSuccess);
  REQUIRE(count == 3);
  std::vector<cudaGraphNode_t> nodes(count);
  CHECK(cudaGraphGetNodes(c.graph, nodes.data(), &count) == cudaSuccess);
  std::vector<cudaGraphNodeType> types(count);
  for (std::size_t i = 0; i < count; ++i) cudaGraphNodeGetType(nodes[i], &types[i]);
  CHECK(types == std::vector{cudaGraphNodeTypeKernel, cudaGraphNodeTypeKernel, cudaGraphNodeTypeMemcpy});

  REQUIRE(cudaGraphInstantiate(&c.exec, c.graph) == cudaSuccess);
  CHECK(y.values() == std::vector<int>(4, 0));
  CHECK(cudaGraphLaunch(c.exec, nullptr) == cudaSuccess);
  CHECK(y.values() == std::vector<int>{11, 13, 15, 17});
  CHECK(z.values() == y.values());
  const std::vector<int> changed = {100, 200, 300, 400};
  cudaMemcpyAsync(x.data(), changed.data(), 16, cudaMemcpyHostToDevice, nullptr);
  CHECK(cudaGraphLaunch(c.exec, c.stream) == cudaSuccess);
  CHECK(z.values() == std::vector<int>{222, 424, 626, 828});

  c.launch_add(y, x, 0);  // the stream is as before
  CHECK(y.values() == std::vector<int>{322, 624, 926, 1228});
}

TEST_CASE("a captured kernel that breaks a rule fails when it runs") {
  const DeviceArray<int> y(4);
  Capture c;
  REQUIRE(c.begin() == cudaSuccess);
  simt::launch({"add", {0, 1, 1}, {4, 1, 1}, 0, c.stream}, add, y.data(), y.data(), 0);
  REQUIRE(c.end() == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&c.exec, c.graph) == cudaSuccess);
  CHECK(failure_of([&] { cudaGraphLaunch(c.exec, nullptr); }) != "no failure");
}

TEST_CASE("a capture refuses what cannot be part of a graph, and is lost then") {
  struct Refused {
    const char* what;
    std::function<cudaError_t(cudaStream_t)> call;
  };
  const DeviceArray<int> x(4), y(std::vector<int>(4, 7));
  std::vector<int> host(4);
  void* pinned = nullptr;
  REQUIRE(cudaMallocHost(&pinned, 16) == cudaSuccess);
  void* block = nullptr;
  REQUIRE(cudaMalloc(&block, 16) == cudaSuccess);
  cudaEvent_t event = nullptr;
  cudaEventCreate(&event);
  cudaEventRecord(event, nullptr);
  cudaGraphExec_t other = nullptr;
  {
    Capture c;
    c.begin();
    c.end();
    cudaGraphInstantiate(&other, c.graph);
  }
  void* none = nullptr;
  const Refused cases[] = {
      {"waiting for the stream", [](cudaStream_t s) { return cudaStreamSynchronize(s); }},
      {"waiting for an event", [&](cudaStream_t) { return cudaEventSynchronize(event); }},
      {"allocating", [&](cudaStream_t) { return cudaMalloc(&none, 16); }},
      {"freeing", [&](cudaStream_t) { return cudaFree(block); }},
      {"allocating page-locked memory", [&](cudaStream_t) { return cudaMallocHost(&none, 16); }},
      {"freeing page-locked memory", [&](cudaStream_t) { return cudaFreeHost(pinned); }},
      {"reading into pageable memory",
       [&](cudaStream_t s) { return cudaMemcpyAsync(host.data(), x.data(), 16, cudaMemcpyDeviceToHost, s); }},
      {"copying from pageable memory",
       [&](cudaStream_t s) { return cudaMemcpyAsync(x.data(), host.data(), 16, cudaMemcpyHostToDevice, s); }},
      {"launching a graph", [&](cudaStream_t s) { return cudaGraphLaunch(other, s); }},
      {"capturing twice",
       [](cudaStream_t s) { return cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal); }},
  };
  for (const Refused& refused : cases) {
    INFO(refused.what);
    Capture c;
    REQUIRE(c.begin() == cudaSuccess);
    c.launch_add(y, x, 1);
    CHECK(refused.call(c.stream) == cudaErrorStreamCaptureUnsupported);
    CHECK(none == nullptr);
    CHECK(c.status() == cudaStreamCaptureStatusInvalidated);
    CHECK(cudaGetLastError() == cudaErrorStreamCaptureUnsupported);
    c.launch_add(y, x, 1);
    CHECK(cudaGetLastError() == cudaErrorStreamCaptureInvalidated);
    CHECK(c.end() == cudaErrorStreamCaptureInvalidated);
    CHECK(c.graph == nullptr);
    CHECK(c.end() == cudaErrorStreamCaptureUnmatched);
    CHECK(cudaGetLastError() == cudaErrorStreamCaptureUnmatched);
    // The refused call works afterwards, but for the end of a capture that is not there.
    CHECK(y.values() == std::vector<int>(4, 7));
    CHECK(cudaStreamSynchronize(c.stream) == cudaSuccess);
    CHECK(cudaEventSynchronize(event) == cudaSuccess);
  }
  CHECK(cudaFree(block) == cudaSuccess);  // they were refused above
  CHECK(cudaFreeHost(pinned) == cudaSuccess);
  cudaEventDestroy(event);
  cudaGraphExecDestroy(other);
}

TEST_CASE("page-locked memory can be copied from and to by a graph") {
  void *from = nullptr, *to = nullptr;
  REQUIRE(cudaMallocHost(&from, 16) == cudaSuccess);
  REQUIRE(cudaMallocHost(&to, 16) == cudaSuccess);
  const DeviceArray<int> y(4);
  Capture c;
  REQUIRE(c.begin() == cudaSuccess);
  CHECK(cudaMemcpyAsync(y.data(), from, 16, cudaMemcpyHostToDevice, c.stream) == cudaSuccess);
  CHECK(cudaMemcpyAsync(to, y.data(), 16, cudaMemcpyDeviceToHost, c.stream) == cudaSuccess);
  REQUIRE(c.end() == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&c.exec, c.graph) == cudaSuccess);
  for (int i = 0; i < 2; ++i) {
    static_cast<int*>(from)[3] = 5 + i;
    CHECK(cudaGraphLaunch(c.exec, c.stream) == cudaSuccess);
    CHECK(static_cast<int*>(to)[3] == 5 + i);
  }
  cudaFreeHost(from);
  cudaFreeHost(to);
}

TEST_CASE("a relaxed thread may allocate and free during a capture") {
  Capture c;
  REQUIRE(c.begin() == cudaSuccess);
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  CHECK(cudaThreadExchangeStreamCaptureMode(&mode) == cudaSuccess);
  CHECK(mode == cudaStreamCaptureModeGlobal);
  void* p = nullptr;
  CHECK(cudaMalloc(&p, 16) == cudaSuccess);
  CHECK(cudaFree(p) == cudaSuccess);
  CHECK(cudaStreamSynchronize(c.stream) == cudaErrorStreamCaptureUnsupported);  // but not wait
  cudaThreadExchangeStreamCaptureMode(&mode);
  CHECK(mode == cudaStreamCaptureModeRelaxed);
  CHECK(c.end() == cudaErrorStreamCaptureInvalidated);
}

TEST_CASE("other streams go on during a capture, the null stream only beside one that does not block") {
  const DeviceArray<int> x(iota<int>(4)), y(std::vector<int>(4, 0));
  Capture c, beside;
  REQUIRE(c.begin() == cudaSuccess);
  beside.launch_add(y, x, 0);
  launch_1d(1, 4, add, y.data(), x.data(), 0);
  CHECK(y.values() == std::vector<int>{0, 2, 4, 6});
  CHECK(cudaStreamSynchronize(beside.stream) == cudaSuccess);
  CHECK(c.end() == cudaSuccess);

  Capture blocking(0);
  REQUIRE(blocking.begin() == cudaSuccess);
  launch_1d(1, 4, add, y.data(), x.data(), 0);
  CHECK(cudaGetLastError() == cudaErrorStreamCaptureImplicit);
  CHECK(blocking.end() == cudaErrorStreamCaptureInvalidated);
  CHECK(y.values() == std::vector<int>{0, 2, 4, 6});
}

TEST_CASE("events tell the time between them, unless a capture saw them") {
  cudaEvent_t start = nullptr, end = nullptr;
  cudaEventCreate(&start);
  cudaEventCreate(&end);
  cudaEventRecord(start, nullptr);
  cudaEventRecord(end, nullptr);
  float milliseconds = -1;
  CHECK(cudaEventSynchronize(end) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, start, end) == cudaSuccess);
  CHECK(milliseconds >= 0);
  Capture c;
  REQUIRE(c.begin() == cudaSuccess);
  cudaEventRecord(end, c.stream);
  CHECK(c.end() == cudaSuccess);
  CHECK(cudaEventSynchronize(end) == cudaErrorCapturedEvent);
  CHECK(cudaEventElapsedTime(&milliseconds, start, end) == cudaErrorCapturedEvent);
  cudaEventDestroy(start);
  cudaEventDestroy(end);
  cudaGetLastError();
}
