// The part of CUDA's runtime API that the project uses, for one emulated device. Streams run at once.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "simt/memory.h"

namespace {

cudaError_t last_error = cudaSuccess;

cudaError_t result(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
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

}  // namespace

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
  properties->multiProcessorCount = 132;
  return cudaSuccess;
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

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  *pointer = simt::device_allocate(bytes);
  return *pointer != nullptr ? cudaSuccess : result(cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* pointer) {
  return pointer == nullptr || simt::device_free(pointer) ? cudaSuccess : result(cudaErrorInvalidValue);
}
cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
  *pointer = std::malloc(bytes);
  return *pointer != nullptr ? cudaSuccess : result(cudaErrorMemoryAllocation);
}
cudaError_t cudaFreeHost(void* pointer) {
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t) {
  if (bytes == 0) return cudaSuccess;
  if (!is_valid(to, bytes, kind != cudaMemcpyDeviceToHost) ||
      !is_valid(from, bytes, kind != cudaMemcpyHostToDevice))
    return result(cudaErrorInvalidValue);
  const simt::DeviceAccess access;
  std::memmove(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = reinterpret_cast<cudaStream_t>(new char);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete reinterpret_cast<char*>(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
