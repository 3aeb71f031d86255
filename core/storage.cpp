#include "core/storage.h"

#include <sys/mman.h>

#include <cstdlib>

#include "core/caching_allocator.h"
#include "core/cuda.h"

namespace evenkeel {
namespace {

struct CpuMemory {
  static constexpr std::size_t kAlignment = 64;
  static constexpr std::int64_t kMostCached = INT64_MAX;
  static constexpr const char* kName = "the CPU";

  /// Large blocks lie in huge pages where the system has them: arrays that are read in strides miss the TLB
  /// less.
  void* allocate(std::size_t bytes) const {
    constexpr std::size_t kHugePage = std::size_t{2} << 20;
    const bool is_large = bytes >= 2 * kHugePage;
    void* data = nullptr;
    if (posix_memalign(&data, is_large ? kHugePage : kAlignment, bytes) != 0) return nullptr;
    if (is_large) madvise(data, bytes, MADV_HUGEPAGE);  // advice: nothing is lost where it fails
    return data;
  }
  void deallocate(void* data) const { std::free(data); }
};

/// Never destroyed, as tensors may outlive other statics.
CachingAllocator<CpuMemory>& cpu_memory() {
  static auto* allocator = new CachingAllocator<CpuMemory>;
  return *allocator;
}

}  // namespace

MemoryStats memory_stats(Device device) {
  if constexpr (kCudaEnabled) {
    if (device.is_cuda()) return cuda::memory_stats(device.index);
  }
  return cpu_memory().stats();
}

Storage::Storage(std::int64_t bytes, Device device) {
  EK_CHECK(bytes >= 0, "a storage of {} bytes was asked for", bytes);
  device.require_available();
  block_ = std::make_shared<Block>(bytes, device);
}

Storage::Block::Block(std::int64_t bytes_, Device device_) : bytes(bytes_), device(device_) {
  if constexpr (kCudaEnabled) {
    if (device.is_cuda()) {
      stream = current_stream(device.index);
      data = cuda::allocate(bytes, device.index, stream);
      return;
    }
  }
  data = cpu_memory().allocate(bytes);
}

Storage::Block::~Block() {
  if constexpr (kCudaEnabled) {
    if (device.is_cuda()) {
      cuda::deallocate(data, bytes, device.index, stream);
      return;
    }
  }
  cpu_memory().deallocate(data, bytes);
}

}  // namespace evenkeel
