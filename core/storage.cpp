#include "core/storage.h"

#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include "core/error.h"

namespace evenkeel {
namespace {

constexpr std::size_t kAlignment = 64;

/// Keeps freed blocks by size: in a training loop the same sizes come back every step, and fresh pages from
/// the system cost more than the arithmetic done on them. Never destroyed, as tensors may outlive other
/// statics.
class CpuAllocator {
 public:
  static CpuAllocator& instance() {
    static auto* allocator = new CpuAllocator;
    return *allocator;
  }

  std::byte* allocate(std::int64_t bytes) {
    const std::size_t size = rounded(bytes);
    const std::lock_guard lock(mutex_);
    stats_.bytes_in_use += static_cast<std::int64_t>(size);
    stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes_in_use);
    if (auto& blocks = free_[size]; !blocks.empty()) {
      std::byte* data = blocks.back();
      blocks.pop_back();
      stats_.bytes_cached -= static_cast<std::int64_t>(size);
      return data;
    }
    ++stats_.system_allocations;
    void* data = std::aligned_alloc(kAlignment, size);
    if (data == nullptr) {
      stats_.bytes_in_use -= static_cast<std::int64_t>(size);
      fail("out of memory: {} bytes asked for, {} in use", size, stats_.bytes_in_use);
    }
    return static_cast<std::byte*>(data);
  }

  void deallocate(std::byte* data, std::int64_t bytes) {
    const std::size_t size = rounded(bytes);
    const std::lock_guard lock(mutex_);
    stats_.bytes_in_use -= static_cast<std::int64_t>(size);
#ifdef EVENKEEL_SANITIZED
    std::free(data);
#else
    free_[size].push_back(data);
    stats_.bytes_cached += static_cast<std::int64_t>(size);
#endif
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

 private:
  static std::size_t rounded(std::int64_t bytes) {
    const auto size = static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1));
    return (size + kAlignment - 1) / kAlignment * kAlignment;
  }

  std::mutex mutex_;
  std::map<std::size_t, std::vector<std::byte*>> free_;
  MemoryStats stats_;
};

}  // namespace

MemoryStats memory_stats() { return CpuAllocator::instance().stats(); }

Storage::Storage(std::int64_t bytes, Device device) {
  EK_CHECK(bytes >= 0, "a storage of {} bytes was asked for", bytes);
  device.require_available();
  block_ = std::make_shared<Block>(bytes, device);
}

Storage::Block::Block(std::int64_t bytes_, Device device_)
    : data(CpuAllocator::instance().allocate(bytes_)), bytes(bytes_), device(device_) {}

Storage::Block::~Block() { CpuAllocator::instance().deallocate(data, bytes); }

}  // namespace evenkeel
