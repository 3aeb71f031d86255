#include "evenkeel/core/storage.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#ifdef __GLIBC__
#  include <malloc.h>
#endif

#include "evenkeel/core/caching_allocator.h"
#include "evenkeel/core/cuda.h"
#include "evenkeel/kernels/elementwise.h"
#include "evenkeel/kernels/poison.h"

namespace evenkeel {
namespace {

struct CpuMemory {
  static constexpr std::size_t kAlignment = 64;
  [[maybe_unused]] static constexpr std::int64_t kMostCached = INT64_MAX;
  static constexpr const char* kName = "the CPU";

  /// Large blocks lie in huge pages where the system has them: arrays that are read in strides miss the TLB
  /// less.
  void* allocate(std::size_t bytes) const {
    constexpr std::size_t kHugePage = std::size_t{2} << 20;
    const bool is_large = bytes >= 2 * kHugePage;
    void* data = nullptr;
#ifdef EVENKEEL_SANITIZED
    if (bytes >> 40 != 0) return nullptr;  // AddressSanitizer would end the program
#endif
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

void set_memory_poison(int byte) {
  EK_CHECK(byte <= 255, "set_memory_poison: {} is no byte; 0 to 255, or a negative number for none", byte);
  memory_poison_byte = byte;
}

MemoryStats memory_stats(Device device) {
  device.require_available();
  if constexpr (kCudaEnabled) {
    if (device.is_cuda()) return cuda::memory_stats(device.index);
  }
  return cpu_memory().stats();
}

void reset_peak_memory_stats(Device device) {
  device.require_available();
  if constexpr (kCudaEnabled) {
    if (device.is_cuda()) return cuda::reset_peak_memory_stats(device.index);
  }
  cpu_memory().reset_peak();
}

void empty_cache(Device device) {
  device.require_available();
  if constexpr (kCudaEnabled) {
    if (device.is_cuda()) return cuda::empty_cache(device.index);
  }
  cpu_memory().empty_cache();
#ifdef __GLIBC__
  malloc_trim(0);  // else the C library may keep what it was given
#endif
}

Storage::Storage(std::int64_t bytes, Device device) {
  EK_CHECK(bytes >= 0, "a storage of {} bytes was asked for", bytes);
  device.require_available();
  block_ = std::make_shared<Block>(bytes, device);
  if (memory_poison_byte >= 0 && bytes > 0) fill_with_poison();
}

Storage::Storage(std::int64_t bytes, std::shared_ptr<const Reordered> reordered)
    : block_(std::make_shared<Block>(bytes, std::move(reordered))) {}

void Storage::fill_with_poison() const {
  if constexpr (kCudaEnabled) {
    if (device().is_cuda()) {
      const FillArgs<std::uint8_t> args{.y = reinterpret_cast<std::uint8_t*>(data()),
                                        .value = static_cast<double>(memory_poison_byte),
                                        .shape = {1, {bytes()}},
                                        .strides = {1, {1}}};
      cuda::fill(args, block_->stream);
      return;
    }
  }
  std::memset(data(), memory_poison_byte, static_cast<std::size_t>(bytes()));
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

Storage::Block::Block(std::int64_t bytes_, std::shared_ptr<const Reordered> reordered_)
    : bytes(bytes_), device(Device::cpu()), is_lazy(true), reordered(std::move(reordered_)) {}

void Storage::Block::put_in_order() {
  std::call_once(in_order, [this] {
    std::byte* memory = cpu_memory().allocate(bytes);
    reordered->write(memory, *reordered);
    data = memory;
  });
}

Storage::Block::~Block() {
  if (data == nullptr) return;  // nobody asked for it
  if constexpr (kCudaEnabled) {
    if (device.is_cuda()) {
      cuda::deallocate(data, bytes, device.index, stream);
      return;
    }
  }
  cpu_memory().deallocate(data, bytes);
}

}  // namespace evenkeel
