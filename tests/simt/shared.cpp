// A block's shared memory: one arena, with gaps between the arrays that AddressSanitizer watches.
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "simt/asan.h"
#include "simt/block.h"

namespace simt {
namespace {

constexpr std::size_t kGap = 64;  // poisoned, between shared arrays
alignas(256) char arena[kShared + 256 * kGap];

/// One SIMT_SHARED array of the current block.
struct Slot {
  const void* declaration;
  void* address;
};

std::vector<Slot> slots;
std::size_t static_bytes = 0, arena_used = 0;

}  // namespace

char* shared_arena() { return arena; }
bool is_shared_address(const void* address) {
  return address >= arena && static_cast<const char*>(address) < arena + sizeof arena;
}

void begin_shared_memory(std::size_t dynamic_bytes) {
  slots.clear();
  static_bytes = 0;
  SIMT_UNPOISON(arena, sizeof arena);
  std::memset(arena, 0xFF, dynamic_bytes);
  SIMT_POISON(arena + dynamic_bytes, sizeof arena - dynamic_bytes);
  arena_used = dynamic_bytes + kGap;
}

void* dynamic_shared() { return arena; }

void* shared_slot(const void* declaration, std::size_t bytes, std::size_t alignment) {
  for (const Slot& slot : slots) {
    if (slot.declaration == declaration) return slot.address;
  }
  static_bytes += bytes;
  if (static_bytes > kStaticShared)
    fail(std::to_string(static_bytes) + " bytes of static shared memory; 49152 are the most");
  if (static_bytes + launched.dynamic_shared > kShared)
    fail("static and dynamic shared memory together are over 232448 bytes");
  arena_used = (arena_used + alignment - 1) / alignment * alignment;
  if (arena_used + bytes + kGap > sizeof arena) fail("more shared arrays than the executor has gaps for");
  char* address = arena + arena_used;
  arena_used += bytes + kGap;
  SIMT_UNPOISON(address, bytes);
  std::memset(address, 0xFF, bytes);
  slots.push_back({declaration, address});
  return address;
}

}  // namespace simt
