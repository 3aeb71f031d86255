// Memory that a kernel keeps for its next call.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "kernels/isa.h"

namespace evenkeel::cpu::EK_ISA {

/// Memory of a thread that is kept from call to call and grows as needed; its contents are not.
class Scratch {
 public:
  /// At least n elements, at a multiple of 64 bytes. No constructor or destructor runs.
  template <typename X>
  X* get(std::int64_t n) {
    const std::int64_t bytes = (n * static_cast<std::int64_t>(sizeof(X)) + 63) / 64 * 64;
    if (bytes > size_) {
      size_ = bytes;
      data_.reset(std::aligned_alloc(64, static_cast<std::size_t>(bytes)));
      if (!data_) std::abort();  // inside a parallel region nothing can be thrown
    }
    return static_cast<X*>(data_.get());
  }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> data_;
  std::int64_t size_ = 0;
};

}  // namespace evenkeel::cpu::EK_ISA
