#include "core/cuda.h"

#include <cuda_runtime.h>

#include <memory>
#include <mutex>
#include <vector>

#include "core/caching_allocator.h"
#include "core/error.h"

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

void set_device(int device) { check(cudaSetDevice(device), "cudaSetDevice({})", device); }

struct DeviceMemory {
  static constexpr std::size_t kAlignment = 512;
#ifdef SIMT_EXECUTOR
  static constexpr std::int64_t kMostCached = 1 << 20;  // the executor copies all blocks at each launch
#else
  static constexpr std::int64_t kMostCached = INT64_MAX;
#endif
  static constexpr const char* kName = "the CUDA device";
  int device;

  void* allocate(std::size_t bytes) const {
    set_device(device);
    void* data = nullptr;
    if (cudaMalloc(&data, bytes) == cudaSuccess) return data;
    cudaGetLastError();
    return nullptr;
  }
  void deallocate(void* data) const { cudaFree(data); }
};

struct PinnedMemory {
  static constexpr std::size_t kAlignment = 4096;
  static constexpr std::int64_t kMostCached = INT64_MAX;
  static constexpr const char* kName = "page-locked memory";

  void* allocate(std::size_t bytes) const {
    void* data = nullptr;
    if (cudaMallocHost(&data, bytes) == cudaSuccess) return data;
    cudaGetLastError();
    return nullptr;
  }
  void deallocate(void* data) const { cudaFreeHost(data); }
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

CachingAllocator<PinnedMemory>& pinned_memory() {
  static auto* allocator = new CachingAllocator<PinnedMemory>;
  return *allocator;
}

/// The stream that this thread was told to use on each device; null: the device's own.
Stream& chosen_stream(int device) {
  thread_local std::vector<Stream> chosen(cuda_devices().count);
  return chosen.at(device);
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
MemoryStats memory_stats(int device) { return state_of(device).memory.stats(); }

void copy_to_device(void* to, const void* from, std::int64_t bytes, int device) {
  copy(to, from, bytes, device, cudaMemcpyHostToDevice);
}
void copy_to_host(void* to, const void* from, std::int64_t bytes, int device) {
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
  check(cudaStreamSynchronize(current_stream(device.index)), "waiting for {}", device.str());
}

CudaStream::CudaStream(int device) : device_(device) {
  Device::cuda(device).require_available();
  set_device(device);
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate on cuda:{}", device);
}
CudaStream::~CudaStream() { cudaStreamDestroy(stream_); }

StreamGuard::StreamGuard(const CudaStream& stream)
    : device_(stream.device()), before_(std::exchange(chosen_stream(device_), stream.get())) {}
StreamGuard::~StreamGuard() { chosen_stream(device_) = before_; }

PinnedBuffer::PinnedBuffer(std::int64_t bytes) : data_(pinned_memory().allocate(bytes)), bytes_(bytes) {}
PinnedBuffer::~PinnedBuffer() { pinned_memory().deallocate(data_, bytes_); }

}  // namespace evenkeel
