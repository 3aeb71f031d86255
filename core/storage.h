// Memory: a block of bytes on a device, shared by the tensors that view it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "evenkeel/core/device.h"

namespace evenkeel {

/// What a device's caching allocator has done so far.
struct MemoryStats {
  std::int64_t bytes_in_use = 0;
  std::int64_t bytes_peak = 0;
  std::int64_t bytes_cached = 0;        ///< freed, kept for reuse; without what graphs keep
  std::int64_t system_allocations = 0;  ///< requests that the cache could not serve
};
MemoryStats memory_stats(Device device = Device::cpu());
/// MemoryStats::bytes_peak starts anew, from what is in use now.
void reset_peak_memory_stats(Device device = Device::cpu());

/// Gives the device's cached memory back to the system, as torch.cuda.empty_cache does; of a CUDA device the
/// cached page-locked memory of the host too. There is no need to call it but to let other programs have the
/// memory: the cache is never larger than three times the most that was in use at once, recently
/// (core/caching_allocator.h). What CUDA graphs keep stays, and so does the scratch memory of kernels.
void empty_cache(Device device = Device::cpu());

/// For tests: from now on all fresh memory is filled with `byte`, 0 to 255: that of tensors on every device,
/// whether it comes from the cache or from the system, and the scratch memory of the CPU's kernels. A result
/// that depends on stale memory then differs between two values of `byte`; 255 is NaN in every floating-point
/// dtype, -1 in i64. A negative `byte` ends it. At the start `byte` is the value of the environment variable
/// EVENKEEL_POISON, if that is a number from 0 to 255. Not to be called while an op runs. Throws Error above
/// 255.
void set_memory_poison(int byte);

struct Reordered;

/// A shared block of memory, aligned to 64 bytes. Copies share it.
class Storage {
 public:
  Storage() = default;
  /// Uninitialised. Throws DeviceError if the device is not there, Error if memory runs out.
  Storage(std::int64_t bytes, Device device);
  /// On the CPU, with the elements of `reordered`; they are put in their order, and get memory for it, when
  /// data() is first asked for.
  Storage(std::int64_t bytes, std::shared_ptr<const Reordered> reordered);

  /// False for the storage that is not there; it has nothing else.
  bool defined() const { return block_ != nullptr; }
  std::byte* data() const {
    if (block_->is_lazy) block_->put_in_order();
    return block_->data;
  }
  std::int64_t bytes() const { return block_->bytes; }
  Device device() const { return block_->device; }
  bool shared() const { return block_.use_count() > 1; }
  friend bool operator==(const Storage& a, const Storage& b) { return a.block_ == b.block_; }

  /// Counts the changes made in place, so that backward can refuse values that are no longer those it saved.
  std::uint64_t version() const { return block_->version; }
  void bump_version() const {
    ++block_->version;
    block_->reordered.reset();
  }
  /// The elements as they were made; null where they were made in order, or have been changed in place.
  const std::shared_ptr<const Reordered>& reordered() const { return block_->reordered; }

 private:
  struct Block {
    Block(std::int64_t bytes, Device device);
    Block(std::int64_t bytes, std::shared_ptr<const Reordered> reordered);
    ~Block();
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;

    std::int64_t bytes;
    Device device;
    Stream stream = nullptr;  // of a CUDA device, on which the memory was allocated
    std::byte* data = nullptr;
    std::uint64_t version = 0;

    void put_in_order();
    bool is_lazy = false;
    std::once_flag in_order;
    std::shared_ptr<const Reordered> reordered;
  };
  void fill_with_poison() const;

  std::shared_ptr<Block> block_;
};

/// The elements of a tensor in an order of the kernel that made them, with padding between them. The next
/// kernel that works in this order takes them as they are; everybody else gets them in order, from
/// Storage::data(). So an order of the CPU's kernels (nn/functional/units.h) shows in no tensor.
struct Reordered {
  Storage elements;
  std::int64_t count;                 ///< of elements, those of the padding too
  std::array<std::int64_t, 3> order;  ///< what `write` knows it by; equal for equal orders
  /// Puts the elements in order.
  void (*write)(std::byte* data, const Reordered& from);
};

}  // namespace evenkeel
