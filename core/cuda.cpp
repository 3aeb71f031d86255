#include "evenkeel/core/cuda.h"
#include "evenkeel/core/stream_guard.h"

#include <cuda_runtime.h>

#include <exception>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "evenkeel/base/error.h"
#include "evenkeel/core/caching_allocator.h"
#include "evenkeel/kernels/cuda/workspace.h"

#if !defined(SIMT_EXECUTOR) && __has_include(<nvtx3/nvToolsExt.h>)
#  define EK_WITH_NVTX
#  include <nvtx3/nvToolsExt.h>
#endif

namespace evenkeel {
namespace {

/// Throws Error if a call failed. `call` says which, with its values.
template <typename... Args>
void check(cudaError_t error, fmt::format_string<Args...> call, Args&&... args) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // so that the next launch does not report it again
  fail("{} failed: {} ({})", fmt::format(call, std::forward<Args>(args)...), cudaGetErrorString(error),
       cudaGetErrorName(error));
}

/// While one is alive, this thread may allocate and free during a capture, which records nothing of it.
class RelaxedCapture {
 public:
  RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

void set_device(int device) { check(cudaSetDevice(device), "cudaSetDevice({})", device); }

struct DeviceMemory {
  static constexpr std::size_t kAlignment = 512;
#ifdef SIMT_EXECUTOR
  static constexpr std::int64_t kMostCached = 1 << 19;  // the executor copies all blocks at each launch
#else
  static constexpr std::int64_t kMostCached = INT64_MAX;
#endif
  static constexpr const char* kName = "the CUDA device";
  int device;

  void* allocate(std::size_t bytes) const {
    set_device(device);
    const RelaxedCapture relaxed;
    void* data = nullptr;
    if (cudaMalloc(&data, bytes) == cudaSuccess) return data;
    cudaGetLastError();
    return nullptr;
  }
  void deallocate(void* data) const {
    const RelaxedCapture relaxed;
    cudaFree(data);
  }
};

/// What is kept for each device. Never destroyed, as tensors may outlive other statics.
struct DeviceState {
  explicit DeviceState(int device) : memory(DeviceMemory{device}) {
    set_device(device);
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate on cuda:{}", device);
  }
  CachingAllocator<DeviceMemory> memory;
  Stream stream = nullptr;
};

DeviceState& state_of(int device) {
  static std::mutex mutex;
  static auto* states = new std::vector<std::unique_ptr<DeviceState>>(cuda_devices().count);
  const std::lock_guard lock(mutex);
  auto& state = states->at(device);
  if (state == nullptr) state = std::make_unique<DeviceState>(device);
  return *state;
}

/// The stream that this thread was told to use on each device; null: the device's own.
Stream& chosen_stream(int device) {
  thread_local std::vector<Stream> chosen(cuda_devices().count);
  return chosen.at(device);
}

/// Events that are free for use again. Never destroyed, as work may end after other statics.
class SpareEvents {
 public:
  /// Null if there is none.
  cuda::Event take() {
    const std::lock_guard lock(mutex_);
    if (events_.empty()) return nullptr;
    const cuda::Event event = events_.back();
    events_.pop_back();
    return event;
  }
  void give(cuda::Event event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(event);
  }

 private:
  std::mutex mutex_;
  std::vector<cuda::Event> events_;
};
SpareEvents& spare_events() {
  static auto* events = new SpareEvents;
  return *events;
}

thread_local int captured_device = -1;  // on which this thread records a graph

/// Throws unless the device's work runs, so that its values can be waited for.
void require_no_capture(int device, const char* what) {
  EK_CHECK(captured_device != device,
           "{} is not possible while a CUDA graph is recorded, as none of its work runs then: do it before, "
           "or after a launch",
           what);
}

void copy(void* to, const void* from, std::int64_t bytes, int device, cudaMemcpyKind kind) {
  if (bytes == 0) return;
  check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), kind, current_stream(device)),
        "cudaMemcpyAsync of {} bytes {} cuda:{}", bytes,
        kind == cudaMemcpyHostToDevice   ? "to"
        : kind == cudaMemcpyDeviceToHost ? "from"
                                         : "on",
        device);
}

}  // namespace

namespace cuda {

CudaDevices find_devices() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return {count, ""};
  cudaGetLastError();
  if (error == cudaErrorInsufficientDriver) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) return {0, "there is no NVIDIA driver"};
    return {0, fmt::format("the NVIDIA driver knows CUDA {}.{}, this build needs {}.{}", driver / 1000,
                           driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10)};
  }
  if (error == cudaSuccess || error == cudaErrorNoDevice) return {0, "there is no CUDA device"};
  return {0, fmt::format("cudaGetDeviceCount failed: {}", cudaGetErrorString(error))};
}

std::byte* allocate(std::int64_t bytes, int device, Stream stream) {
  return state_of(device).memory.allocate(bytes, stream);
}
void deallocate(std::byte* data, std::int64_t bytes, int device, Stream stream) {
  state_of(device).memory.deallocate(data, bytes, stream);
}
bool is_capturing(int device) { return captured_device == device; }
MemoryStats memory_stats(int device) { return state_of(device).memory.stats(); }
void reset_peak_memory_stats(int device) { state_of(device).memory.reset_peak(); }
void empty_cache(int device) { state_of(device).memory.empty_cache(); }

Event record_event(int device) {
  set_device(device);
  Event event = spare_events().take();
  if (event == nullptr && cudaEventCreate(&event) != cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  cudaEventRecord(event, current_stream(device));
  return event;
}

double seconds_between(Event start, Event end) {
  if (start == nullptr || end == nullptr) return 0;
  float milliseconds = 0;
  check(cudaEventSynchronize(end), "waiting for an event");
  check(cudaEventElapsedTime(&milliseconds, start, end), "cudaEventElapsedTime");
  spare_events().give(start);
  spare_events().give(end);
  return milliseconds * 1e-3;
}

#ifdef EK_WITH_NVTX
void begin_range(const char* name) { nvtxRangePushA(name); }
void end_range() { nvtxRangePop(); }
#else
void begin_range(const char*) {}
void end_range() {}
#endif

void copy_to_device(void* to, const void* from, std::int64_t bytes, int device) {
  require_no_capture(device, "copying from the host");
  copy(to, from, bytes, device, cudaMemcpyHostToDevice);
}
void copy_to_host(void* to, const void* from, std::int64_t bytes, int device) {
  require_no_capture(device, "reading a value on the host");
  copy(to, from, bytes, device, cudaMemcpyDeviceToHost);
}
void copy_on_device(void* to, const void* from, std::int64_t bytes, int device) {
  copy(to, from, bytes, device, cudaMemcpyDeviceToDevice);
}

}  // namespace cuda

CudaDeviceProperties cuda_device_properties(int index) {
  cudaDeviceProp p;
  check(cudaGetDeviceProperties(&p, index), "cudaGetDeviceProperties({})", index);
  return {p.name, p.major, p.minor, p.multiProcessorCount, static_cast<std::int64_t>(p.totalGlobalMem)};
}

Stream current_stream(int index) {
  set_device(index);
  const Stream chosen = chosen_stream(index);
  return chosen != nullptr ? chosen : state_of(index).stream;
}

void synchronize(Device device) {
  if (device.is_cpu()) return;
  require_no_capture(device.index, "waiting for the device");
  check(cudaStreamSynchronize(current_stream(device.index)), "waiting for {}", device.str());
}

CudaStream::CudaStream(int device) : device_(device) {
  Device::cuda(device).require_available();
  set_device(device);
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate on cuda:{}", device);
}
CudaStream::~CudaStream() {
  cuda::release_workspace(stream_);
  cudaStreamDestroy(stream_);
}

StreamGuard::StreamGuard(const CudaStream& stream)
    : device_(stream.device()), before_(std::exchange(chosen_stream(device_), stream.get())) {}
StreamGuard::~StreamGuard() { chosen_stream(device_) = before_; }

// --- graphs ------------------------------------------------------------------------------------------------

struct CudaGraph::Handles {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  ~Handles() {
    if (exec != nullptr) cudaGraphExecDestroy(exec);
    if (graph != nullptr) cudaGraphDestroy(graph);
  }
};

CudaGraph::CudaGraph(int device, const std::function<void()>& body)
    : stream_(device), handles_(std::make_unique<Handles>()) {
  EK_CHECK(captured_device < 0, "CudaGraph: another one is being recorded; record one after the other");
  state_of(device).memory.retain(stream_.get());
  try {
    record(body);
    instantiate();
  } catch (...) {
    state_of(device).memory.release_retained(stream_.get());
    throw;
  }
}

CudaGraph::~CudaGraph() {
  const int device = stream_.device();
  cudaSetDevice(device);
  cudaStreamSynchronize(current_stream(device));
  handles_.reset();
  state_of(device).memory.release_retained(stream_.get());
}

void CudaGraph::record(const std::function<void()>& body) {
  const int device = stream_.device();
  const StreamGuard guard(stream_);
  set_device(device);
  check(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal),
        "cudaStreamBeginCapture on cuda:{}", device);
  captured_device = device;
  std::exception_ptr error;
  try {
    body();
  } catch (...) {
    error = std::current_exception();
  }
  captured_device = -1;
  const cudaError_t ended = cudaStreamEndCapture(stream_.get(), &handles_->graph);
  if (error != nullptr) {
    cudaGetLastError();  // a consequence
    std::rethrow_exception(error);
  }
  check(ended, "recording a CUDA graph on cuda:{}", device);
}

void CudaGraph::instantiate() {
  std::size_t count = 0;
  check(cudaGraphGetNodes(handles_->graph, nullptr, &count), "cudaGraphGetNodes");
  std::vector<cudaGraphNode_t> nodes(count);
  check(cudaGraphGetNodes(handles_->graph, nodes.data(), &count), "cudaGraphGetNodes");
  for (const cudaGraphNode_t node : nodes) {
    cudaGraphNodeType type = cudaGraphNodeTypeKernel;
    check(cudaGraphNodeGetType(node, &type), "cudaGraphNodeGetType");
    kernel_nodes_ += type == cudaGraphNodeTypeKernel;
  }
  nodes_ = static_cast<std::int64_t>(count);
  check(cudaGraphInstantiate(&handles_->exec, handles_->graph, 0), "cudaGraphInstantiate of {} nodes", count);
}

void CudaGraph::launch() const {
  require_no_capture(stream_.device(), "launching a CUDA graph");
  check(cudaGraphLaunch(handles_->exec, current_stream(stream_.device())),
        "cudaGraphLaunch of {} nodes on cuda:{}", nodes_, stream_.device());
}

}  // namespace evenkeel
