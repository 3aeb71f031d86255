// Keeps freed memory by size: in a training loop the same sizes come back every step, and asking the system
// or the driver for fresh memory costs more than the arithmetic done in it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
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
    if (retained_.contains(stream)) {
      free_[{stream, size}].push_back(data);
      return;
    }
#ifdef EVENKEEL_SANITIZED
    source_.deallocate(data);
#else
    free_[{stream, size}].push_back(data);
    stats_.bytes_cached += static_cast<std::int64_t>(size);
    if (stats_.bytes_cached > Source::kMostCached) release();
#endif
  }

  /// From now on blocks of this stream stay: those that are freed are reused on it and never given back.
  void retain(Stream stream) {
    const std::lock_guard lock(mutex_);
    release_if([stream](Stream of_block) { return of_block == stream; });  // of one that is gone
    retained_.insert(stream);
  }
  /// Ends that, and gives back those that are free. No work may use them any more.
  void release_retained(Stream stream) {
    const std::lock_guard lock(mutex_);
    release_if([stream](Stream of_block) { return of_block == stream; });
    retained_.erase(stream);
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
    if (!retained_.contains(stream)) stats_.bytes_cached -= static_cast<std::int64_t>(size);
    return data;
  }

  /// Gives back the cached blocks of the streams that `chosen` says.
  template <typename F>
  void release_if(F chosen) {
    std::erase_if(free_, [&](const auto& entry) {
      const auto& [key, blocks] = entry;
      if (!chosen(key.first)) return false;
      for (void* data : blocks) source_.deallocate(data);
      if (!retained_.contains(key.first))
        stats_.bytes_cached -= static_cast<std::int64_t>(key.second * blocks.size());
      return true;
    });
  }

  void release() {
    release_if([this](Stream stream) { return !retained_.contains(stream); });
  }

  Source source_;
  std::mutex mutex_;
  std::set<Stream> retained_;
  std::map<std::pair<Stream, std::size_t>, std::vector<void*>> free_;
  MemoryStats stats_;
};

}  // namespace evenkeel
