#include "evenkeel/kernels/cpu/scratch.h"

#include <limits>

#include "evenkeel/base/checked.h"
#include "evenkeel/base/error.h"

namespace evenkeel::cpu {

std::int64_t scratch_bytes(std::int64_t n, std::size_t size) {
  constexpr auto kAlignment = static_cast<std::int64_t>(kScratchAlignment);
  const std::int64_t bytes = checked_product("working memory", {n, static_cast<std::int64_t>(size)});
  EK_CHECK(bytes <= std::numeric_limits<std::int64_t>::max() - kAlignment,
           "working memory: {} bytes are too many", bytes);
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

void* new_scratch(std::int64_t bytes) {
  void* memory = ::operator new(static_cast<std::size_t>(bytes), kScratchAlignment, std::nothrow);
  if (memory == nullptr)
    fail<OutOfMemory>("the CPU is out of memory: a kernel needs {} bytes to work with", bytes);
  return memory;
}

}  // namespace evenkeel::cpu
