// The CUDA runtime, without CUDA's headers: devices, streams, memory and copies. Defined in builds with CUDA
// (EVENKEEL_CUDA ON or EMULATED); elsewhere kCudaEnabled is false and nothing here may be called.
//
// Every device has a default stream of its own, on which ops are enqueued and which waits for no other.
// Failures throw Error with the failing call, its values and CUDA's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "evenkeel/core/storage.h"

namespace evenkeel {

struct CudaDeviceProperties {
  std::string name;
  int compute_major = 0, compute_minor = 0;
  int multiprocessors = 0;
  std::int64_t memory_bytes = 0;
};
CudaDeviceProperties cuda_device_properties(int index);

/// Waits until everything enqueued on the device's current stream is done. Errors of kernels show here.
void synchronize(Device device);

/// A stream beside the default one. Destroyed when the object is; the work on it goes on.
class CudaStream {
 public:
  explicit CudaStream(int device = 0);
  ~CudaStream();
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  int device() const { return device_; }
  Stream get() const { return stream_; }

 private:
  int device_;
  Stream stream_ = nullptr;
};

/// Ops that were enqueued once, recorded, and are launched together as often as needed: a CUDA graph. What
/// they read and write stays at its addresses, so that a launch works on the values of that moment, while
/// numbers that the host passed to kernels stay those of the recording.
class CudaGraph {
 public:
  /// Records what `body` enqueues on the device. Nothing of it runs; changes that it makes on the host do.
  /// In `body` reading values, waiting and copying from or to the host throw Error, and memory comes from a
  /// pool that stays with the graph: tensors made there and kept show what the last launch wrote to them.
  /// Tensors made before, which the ops use, must live as long as the graph is launched.
  CudaGraph(int device, const std::function<void()>& body);
  /// Waits for the launches.
  ~CudaGraph();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  /// Enqueues all of it on the device's current stream.
  void launch() const;
  /// How many operations it has, and how many of them are kernels.
  std::int64_t nodes() const { return nodes_; }
  std::int64_t kernel_nodes() const { return kernel_nodes_; }

 private:
  struct Handles;
  void record(const std::function<void()>& body);
  void instantiate();

  CudaStream stream_;
  std::unique_ptr<Handles> handles_;
  std::int64_t nodes_ = 0, kernel_nodes_ = 0;
};

namespace cuda {

/// The number of devices, and where it is zero the reason: no driver, one that is too old, or no device.
CudaDevices find_devices();

/// Memory of a device, from a stream-ordered cache. `stream` is that of the allocation.
std::byte* allocate(std::int64_t bytes, int device, Stream stream);
void deallocate(std::byte* data, std::int64_t bytes, int device, Stream stream);
MemoryStats memory_stats(int device);
void reset_peak_memory_stats(int device);
void empty_cache(int device);
/// True while this thread records a CudaGraph on the device.
bool is_capturing(int device);

/// A moment in the order of the device's current stream; null if it could not be noted.
using Event = CUevent_st*;
Event record_event(int device);
/// Waits for both and gives them back. 0 if one is null.
double seconds_between(Event start, Event end);

/// A range of this thread's time that NVIDIA's profilers show under the name. They nest.
void begin_range(const char* name);
void end_range();

/// Enqueues a copy on the current stream of `device`. `from` may be changed when it returns.
void copy_to_device(void* to, const void* from, std::int64_t bytes, int device);
/// Waits for the copy.
void copy_to_host(void* to, const void* from, std::int64_t bytes, int device);
void copy_on_device(void* to, const void* from, std::int64_t bytes, int device);

}  // namespace cuda
}  // namespace evenkeel
