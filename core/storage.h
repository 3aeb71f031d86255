// Memory: a block of bytes on a device, shared by the tensors that view it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/device.h"

namespace evenkeel {

/// What a device's caching allocator has done so far.
struct MemoryStats {
  std::int64_t bytes_in_use = 0;
  std::int64_t bytes_peak = 0;
  std::int64_t bytes_cached = 0;        ///< freed, kept for reuse; without what graphs keep
  std::int64_t system_allocations = 0;  ///< requests that the cache could not serve
};
MemoryStats memory_stats(Device device = Device::cpu());

/// A shared block of uninitialised memory, aligned to 64 bytes. Copies share it.
class Storage {
 public:
  Storage() = default;
  /// Throws DeviceError if the device is not there, Error if memory runs out.
  Storage(std::int64_t bytes, Device device);

  std::byte* data() const { return block_->data; }
  std::int64_t bytes() const { return block_->bytes; }
  Device device() const { return block_->device; }
  bool shared() const { return block_.use_count() > 1; }
  friend bool operator==(const Storage& a, const Storage& b) { return a.block_ == b.block_; }

  /// Counts the changes made in place, so that backward can refuse values that are no longer those it saved.
  std::uint64_t version() const { return block_->version; }
  void bump_version() const { ++block_->version; }

 private:
  struct Block {
    Block(std::int64_t bytes, Device device);
    ~Block();
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;

    std::int64_t bytes;
    Device device;
    Stream stream = nullptr;  // of a CUDA device, on which the memory was allocated
    std::byte* data;
    std::uint64_t version = 0;
  };
  std::shared_ptr<Block> block_;
};

}  // namespace evenkeel
