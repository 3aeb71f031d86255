// The part of CUDA's runtime API that the project uses, for one emulated device and one thread of the host.
// Streams run at once; graphs are in graph.cpp.
#include <cuda_runtime.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <utility>

#include "evenkeel/simt/graph.h"
#include "evenkeel/simt/memory.h"

using simt::result;

namespace {

constexpr int kMultiprocessors = 8;  // few, so that a grid group with a block on each is not slow

cudaError_t last_error = cudaSuccess;

/// Page-locked memory: address and bytes.
std::map<char*, std::size_t>& pinned() {
  static auto* blocks = new std::map<char*, std::size_t>;
  return *blocks;
}

bool is_pinned(const void* address) {
  char* p = const_cast<char*>(static_cast<const char*>(address));
  const auto next = pinned().upper_bound(p);
  return next != pinned().begin() && p < std::prev(next)->first + std::prev(next)->second;
}

/// How a test asks for a machine without a GPU: SIMT_DEVICES=0, or -1 for one without a driver.
int device_count() {
  const char* text = std::getenv("SIMT_DEVICES");
  return text == nullptr ? 1 : std::atoi(text);
}

/// What a copy may touch on the device's side, and on the host's.
bool is_valid(const void* address, std::size_t bytes, bool on_device) {
  return on_device ? simt::in_device_block(address, bytes) : !simt::is_device_address(address);
}

cudaError_t copy_now(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (!is_valid(to, bytes, kind != cudaMemcpyDeviceToHost) ||
      !is_valid(from, bytes, kind != cudaMemcpyHostToDevice))
    return result(cudaErrorInvalidValue);
  const simt::DeviceAccess access;
  std::memmove(to, from, bytes);
  return cudaSuccess;
}

}  // namespace

struct CUevent_st {
  std::chrono::steady_clock::time_point time;
  bool captured = false;  // recorded last in a stream that was captured
};

cudaError_t simt::result(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorNotSupported:
      return "cudaErrorNotSupported";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
      return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorStreamCaptureUnmatched:
      return "cudaErrorStreamCaptureUnmatched";
    case cudaErrorStreamCaptureImplicit:
      return "cudaErrorStreamCaptureImplicit";
    case cudaErrorCapturedEvent:
      return "cudaErrorCapturedEvent";
  }
  return "unknown";
}
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

cudaError_t cudaGetDeviceCount(int* count) {
  // As the real one: without a driver or a device the count is left unset.
  const int devices = device_count();
  if (devices < 0) return result(cudaErrorInsufficientDriver);
  if (devices == 0) return result(cudaErrorNoDevice);
  *count = devices;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= device_count()) return result(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "emulated CUDA device");
  properties->totalGlobalMem = std::size_t{4} << 30;
  properties->major = 9;
  properties->multiProcessorCount = kMultiprocessors;
  properties->cooperativeLaunch = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device < 0 || device >= device_count()) return result(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = kMultiprocessors;
      return cudaSuccess;
    case cudaDevAttrCooperativeLaunch:
      *value = 1;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = 232448;  // as an H200
      return cudaSuccess;
  }
  return result(cudaErrorInvalidValue);
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 0;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device >= 0 && device < device_count() ? cudaSuccess : result(cudaErrorInvalidDevice);
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  *pointer = nullptr;
  if (const cudaError_t error = simt::unsafe_call(); error != cudaSuccess) return error;
  *pointer = simt::device_allocate(bytes);
  return *pointer != nullptr ? cudaSuccess : result(cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  if (const cudaError_t error = simt::unsafe_call(); error != cudaSuccess) return error;
  return simt::device_free(pointer) ? cudaSuccess : result(cudaErrorInvalidValue);
}
cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
  *pointer = nullptr;
  if (const cudaError_t error = simt::unsafe_call(); error != cudaSuccess) return error;
  *pointer = std::malloc(bytes);
  if (*pointer == nullptr) return result(cudaErrorMemoryAllocation);
  pinned()[static_cast<char*>(*pointer)] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* pointer) {
  if (const cudaError_t error = simt::unsafe_call(); error != cudaSuccess) return error;
  pinned().erase(static_cast<char*>(pointer));
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!simt::is_captured(stream)) return copy_now(to, from, bytes, kind);
  // A replay would read or write whatever is then at an address that the host may use for something else.
  if ((kind == cudaMemcpyHostToDevice && !is_pinned(from)) ||
      (kind == cudaMemcpyDeviceToHost && !is_pinned(to)))
    return simt::refuse_in_capture(stream);
  return simt::capture(stream, cudaGraphNodeTypeMemcpy, [=] { copy_now(to, from, bytes, kind); });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return simt::is_captured(stream) ? simt::refuse_in_capture(stream) : cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->captured = simt::is_captured(stream);
  event->time = std::chrono::steady_clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->captured) return result(cudaErrorCapturedEvent);
  return simt::unsafe_call();
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (start->captured || end->captured) return result(cudaErrorCapturedEvent);
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}
