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

#include "evenkeel/base/error.h"
#include "evenkeel/base/mutex.h"
#include "evenkeel/core/storage.h"

namespace evenkeel {

/// A cache over Source, which has
///   void* allocate(std::size_t bytes)    null when there is no memory
///   void deallocate(void*)
///   static constexpr std::size_t kAlignment, to which sizes are rounded up, std::int64_t kMostCached, in
///   bytes, and const char* kName.
/// What is cached is at most kPeaksCached times the most that was in use at once, recently, and at most
/// kMostCached; beyond that the blocks go that have been free for longest. "Recently" means within the last
/// 65,536 to 131,072 requests, many training steps, so that one large computation does not keep its memory
/// for ever.
/// Blocks belong to the stream they were allocated on: work enqueued there before a block was freed is done
/// before later work on that stream touches it, so that freeing waits for nothing. The CPU has one stream,
/// null.
template <typename Source>
class CachingAllocator {
 public:
  explicit CachingAllocator(Source source = {}) : source_(source) {}

  /// Throws OutOfMemory if there is none left, after giving back all that is cached.
  std::byte* allocate(std::int64_t bytes, Stream stream = nullptr) {
    const std::size_t size = rounded(bytes);
    const std::lock_guard lock(mutex_);
    void* data = take({stream, size});
    if (data == nullptr) {
      ++stats_.system_allocations;
      data = source_.allocate(size);
      if (data == nullptr) {
        keep_at_most(0);
        data = source_.allocate(size);
      }
      if (data == nullptr)
        fail<OutOfMemory>("{} is out of memory: {} bytes asked for, {} in use", Source::kName, size,
                          stats_.bytes_in_use);
    }
    stats_.bytes_in_use += static_cast<std::int64_t>(size);
    stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes_in_use);
    count_request();
    return static_cast<std::byte*>(data);
  }

  /// `bytes` and `stream` as in allocate().
  void deallocate(std::byte* data, std::int64_t bytes, [[maybe_unused]] Stream stream = nullptr) {
    const std::size_t size = rounded(bytes);
    const std::lock_guard lock(mutex_);
    stats_.bytes_in_use -= static_cast<std::int64_t>(size);
    if (retained_.contains(stream)) {
      retained_blocks_[{stream, size}].push_back(data);
      return;
    }
#ifdef EVENKEEL_SANITIZED
    source_.deallocate(data);
#else
    const Key key{stream, size};
    by_age_.emplace(age_, key);
    free_[key].push_back({data, age_++});
    stats_.bytes_cached += static_cast<std::int64_t>(size);
    keep_at_most(std::min(Source::kMostCached, kPeaksCached * std::max(peak_now_, peak_before_)));
#endif
  }

  /// Gives back all that is cached.
  void empty_cache() {
    const std::lock_guard lock(mutex_);
    keep_at_most(0);
  }
  /// MemoryStats::bytes_peak starts anew from what is in use. What may be cached does not change.
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    stats_.bytes_peak = stats_.bytes_in_use;
  }

  /// From now on blocks of this stream stay: those that are freed are reused on it and never given back.
  void retain(Stream stream) {
    const std::lock_guard lock(mutex_);
    std::vector<std::uint64_t> ages;  // of blocks of a stream of that name which is gone
    for (const auto& [age, key] : by_age_) {
      if (key.first == stream) ages.push_back(age);
    }
    for (std::uint64_t age : ages) give_back(by_age_.find(age));
    retained_.insert(stream);
  }
  /// Ends that, and gives back those that are free. No work may use them any more.
  void release_retained(Stream stream) {
    const std::lock_guard lock(mutex_);
    std::erase_if(retained_blocks_, [&](const auto& entry) {
      const auto& [key, blocks] = entry;
      if (key.first != stream) return false;
      for (void* data : blocks) source_.deallocate(data);
      return true;
    });
    retained_.erase(stream);
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

 private:
  using Key = std::pair<Stream, std::size_t>;
  struct FreeBlock {
    void* data;
    std::uint64_t age;  // smaller: freed earlier
  };
  /// Blocks are reused for their own size only, so that a training step caches 1.6 to 1.9 times what it has
  /// in use at once; below that every step would ask the system.
  static constexpr std::int64_t kPeaksCached = 3;
  static constexpr std::uint64_t kRecently = 65536;  // requests

  static std::size_t rounded(std::int64_t bytes) {
    const auto size = static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1));
    return (size + Source::kAlignment - 1) / Source::kAlignment * Source::kAlignment;
  }

  /// Keeps the recent peak, of this run of kRecently requests and of the one before.
  void count_request() {
    peak_now_ = std::max(peak_now_, stats_.bytes_in_use);
    if (++requests_ % kRecently == 0) peak_before_ = std::exchange(peak_now_, stats_.bytes_in_use);
  }

  /// The block that was freed last, which is most likely in the processor's caches; null if there is none.
  void* take(const Key& key) {
    if (retained_.contains(key.first)) {
      const auto found = retained_blocks_.find(key);
      if (found == retained_blocks_.end() || found->second.empty()) return nullptr;
      void* data = found->second.back();
      found->second.pop_back();
      return data;
    }
    const auto found = free_.find(key);
    if (found == free_.end()) return nullptr;
    const FreeBlock block = found->second.back();
    found->second.pop_back();
    if (found->second.empty()) free_.erase(found);
    by_age_.erase(block.age);
    stats_.bytes_cached -= static_cast<std::int64_t>(key.second);
    return block.data;
  }

  /// Gives blocks back, those that have been free for longest first.
  void keep_at_most(std::int64_t bytes) {
    while (stats_.bytes_cached > bytes) give_back(by_age_.begin());
  }
  void give_back(std::map<std::uint64_t, Key>::iterator oldest) {
    const auto found = free_.find(oldest->second);
    auto& blocks = found->second;  // in the order in which they were freed
    const auto block = std::find_if(blocks.begin(), blocks.end(),
                                    [&](const FreeBlock& b) { return b.age == oldest->first; });
    source_.deallocate(block->data);
    stats_.bytes_cached -= static_cast<std::int64_t>(oldest->second.second);
    blocks.erase(block);
    if (blocks.empty()) free_.erase(found);
    by_age_.erase(oldest);
  }

  Source source_;
  Mutex mutex_;
  MemoryStats stats_;
  std::map<Key, std::vector<FreeBlock>> free_;  // no entry is empty
  std::map<std::uint64_t, Key> by_age_;         // of the blocks in free_
  std::uint64_t age_ = 0, requests_ = 0;
  std::int64_t peak_now_ = 0, peak_before_ = 0;
  std::set<Stream> retained_;
  std::map<Key, std::vector<void*>> retained_blocks_;  // the free ones
};

}  // namespace evenkeel
