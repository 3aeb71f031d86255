// Keeps freed memory by size: in a training loop the same sizes come back every step, and asking the system
// or the driver for fresh memory costs more than the arithmetic done in it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/storage.h"

namespace evenkeel {

/// A cache over Source, which has
///   void* allocate(std::size_t bytes)    null when there is no memory
///   void deallocate(void*)
///   static constexpr std::size_t kAlignment, to which sizes are rounded up, std::int64_t kMostCached, in
///   bytes, and const char* kName.
/// Blocks belong to the stream they were allocated on: work enqueued there before a block was freed is done
/// before later work on that stream touches it, so that freeing waits for nothing. The CPU has one stream,
/// null.
template <typename Source>
class CachingAllocator {
 public:
  explicit CachingAllocator(Source source = {}) : source_(source) {}

  /// Throws Error if memory runs out, after giving back all that is cached.
  std::byte* allocate(std::int64_t bytes, Stream stream = nullptr) {
    const std::size_t size = rounded(bytes);
    const std::lock_guard lock(mutex_);
    void* data = take(size, stream);
    if (data == nullptr) {
      ++stats_.system_allocations;
      data = source_.allocate(size);
      if (data == nullptr) {
        release();
        data = source_.allocate(size);
      }
      if (data == nullptr)
        fail("{} is out of memory: {} bytes asked for, {} in use", Source::kName, size, stats_.bytes_in_use);
    }
    stats_.bytes_in_use += static_cast<std::int64_t>(size);
    stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes_in_use);
    return static_cast<std::byte*>(data);
  }

  /// `bytes` and `stream` as in allocate().
  void deallocate(std::byte* data, std::int64_t bytes, [[maybe_unused]] Stream stream = nullptr) {
    const std::size_t size = rounded(bytes);
    const std::lock_guard lock(mutex_);
    stats_.bytes_in_use -= static_cast<std::int64_t>(size);
#ifdef EVENKEEL_SANITIZED
    source_.deallocate(data);
#else
    free_[{stream, size}].push_back(data);
    stats_.bytes_cached += static_cast<std::int64_t>(size);
    if (stats_.bytes_cached > Source::kMostCached) release();
#endif
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

 private:
  static std::size_t rounded(std::int64_t bytes) {
    const auto size = static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1));
    return (size + Source::kAlignment - 1) / Source::kAlignment * Source::kAlignment;
  }

  void* take(std::size_t size, Stream stream) {
    const auto blocks = free_.find({stream, size});
    if (blocks == free_.end() || blocks->second.empty()) return nullptr;
    void* data = blocks->second.back();
    blocks->second.pop_back();
    stats_.bytes_cached -= static_cast<std::int64_t>(size);
    return data;
  }

  void release() {
    for (auto& [key, blocks] : free_) {
      for (void* data : blocks) source_.deallocate(data);
    }
    free_.clear();
    stats_.bytes_cached = 0;
  }

  Source source_;
  std::mutex mutex_;
  std::map<std::pair<Stream, std::size_t>, std::vector<void*>> free_;
  MemoryStats stats_;
};

}  // namespace evenkeel
