// The shared memory of blocks: an arena each, with gaps between the arrays that AddressSanitizer watches.
#include <cstring>
#include <string>

#include "evenkeel/simt/asan.h"
#include "evenkeel/simt/block.h"

namespace simt {
alignas(256) char shared_arenas[kMaxGridGroup][kArena];  // pages come when touched

bool is_shared_of_cluster(const void* address) {
  return shared_offset(address) / kArena / launched.cluster ==
         shared_offset(running_block->shared.arena) / kArena / launched.cluster;
}
std::size_t shared_offset(const void* address) {
  return static_cast<std::size_t>(static_cast<const char*>(address) - shared_arenas[0]);
}

void begin_shared_memory(SharedMemory& memory, std::size_t dynamic_bytes) {
  memory.slots.clear();
  memory.static_bytes = 0;
  SIMT_UNPOISON(memory.arena, kArena);
  std::memset(memory.arena, 0xFF, dynamic_bytes);
  SIMT_POISON(memory.arena + dynamic_bytes, kArena - dynamic_bytes);
  memory.used = dynamic_bytes + kGap;
}

void* dynamic_shared() { return running_block->shared.arena; }

void* in_cluster(void* mine, int rank) {
  char* const arena = running_block->shared.arena;
  const auto offset = static_cast<std::size_t>(static_cast<char*>(mine) - arena);
  if (offset >= launched.dynamic_shared)
    fail("only dynamic shared memory is at one place in all blocks of a cluster");
  if (rank < 0 || rank >= cluster_size())
    fail("block " + std::to_string(rank) + " of a cluster of " + std::to_string(cluster_size()));
  return arena + (rank - cluster_rank()) * static_cast<std::ptrdiff_t>(kArena) + offset;
}

void* shared_slot(const void* declaration, std::size_t bytes, std::size_t alignment) {
  SharedMemory& memory = running_block->shared;
  for (const SharedMemory::Slot& slot : memory.slots) {
    if (slot.declaration == declaration) return slot.address;
  }
  memory.static_bytes += bytes;
  if (memory.static_bytes > kStaticShared)
    fail(std::to_string(memory.static_bytes) + " bytes of static shared memory; 49152 are the most");
  if (memory.static_bytes + launched.dynamic_shared > kShared)
    fail("static and dynamic shared memory together are over 232448 bytes");
  memory.used = (memory.used + alignment - 1) / alignment * alignment;
  if (memory.used + bytes + kGap > kArena) fail("more shared arrays than the executor has gaps for");
  char* address = memory.arena + memory.used;
  memory.used += bytes + kGap;
  SIMT_UNPOISON(address, bytes);
  std::memset(address, 0xFF, bytes);
  memory.slots.push_back({declaration, address});
  return address;
}

}  // namespace simt
