// Memory that a kernel keeps for its next call.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "evenkeel/kernels/isa.h"
#include "evenkeel/kernels/poison.h"

namespace evenkeel::cpu {

constexpr std::align_val_t kScratchAlignment{64};
/// n * size, rounded up to the alignment. Throws Error if that has no 64 bits.
std::int64_t scratch_bytes(std::int64_t n, std::size_t size);
/// Throws Error where there is not so much memory.
void* new_scratch(std::int64_t bytes);

}  // namespace evenkeel::cpu

namespace evenkeel::cpu::EK_ISA {

/// Memory of a thread that is kept from call to call and grows as needed; its contents are not.
class Scratch {
 public:
  /// At least n elements, at a multiple of 64 bytes. No constructor or destructor runs. Throws Error where
  /// there is not so much memory.
  template <typename X>
  X* get(std::int64_t n) {
    const std::int64_t bytes = scratch_bytes(n, sizeof(X));
    if (bytes > size_) {
      size_ = 0;
      data_.reset();
      data_.reset(new_scratch(bytes));
      size_ = bytes;
    }
    if (memory_poison_byte >= 0 && bytes > 0)
      std::memset(data_.get(), memory_poison_byte, static_cast<std::size_t>(bytes));
    return static_cast<X*>(data_.get());
  }

 private:
  struct Free {
    void operator()(void* p) const { ::operator delete(p, kScratchAlignment); }
  };
  std::unique_ptr<void, Free> data_;
  std::int64_t size_ = 0;
};

}  // namespace evenkeel::cpu::EK_ISA
