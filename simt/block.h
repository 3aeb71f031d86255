// The state of the blocks that are alive, which are those of a grid group: what the scheduler, the warp
// collectives and the race detector share.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "evenkeel/simt/executor.h"
#include "evenkeel/simt/fiber.h"

namespace simt {

constexpr unsigned kWarp = 32;
constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kMaxGridGroup = 64, kMaxCluster = 8;
constexpr std::size_t kMaxFibers = 16384;  // each takes two of the 65530 mappings that Linux gives a process
constexpr std::size_t kStaticShared = 48 * 1024, kShared = 227 * 1024;

enum class State { ready, at_barrier, at_cluster_barrier, at_grid_group_barrier, in_collective, exited };

/// How often each lane of a warp had synchronised when this lane last heard of it.
using WarpClock = std::array<std::uint32_t, kWarp>;

struct Thread {
  Fiber* fiber = nullptr;
  unsigned id = 0;  // within the block
  State state = State::exited;
  Index index{};
  Site site{};  // where it waits
  // A warp collective: what it was called with, and what it returns.
  WarpOp op{};
  unsigned mask = 0;
  std::uint64_t value = 0;
  int operand = 0, width = 32;
  std::uint64_t result = 0;
  WarpClock clock{};

  unsigned warp() const { return id / kWarp; }
  unsigned lane() const { return id % kWarp; }
};

/// A block's shared memory.
struct SharedMemory {
  /// One SIMT_SHARED array.
  struct Slot {
    const void* declaration;
    void* address;
  };
  char* arena = nullptr;
  std::vector<Slot> slots;
  std::size_t static_bytes = 0, used = 0;
};

struct Block {
  std::size_t number = 0;  // within the grid
  Index index{};
  std::vector<Thread> threads;
  std::size_t exited = 0;        // of them
  std::uint64_t phases = 0;      // begun so far: each ends at a barrier
  unsigned* arrivals = nullptr;  // what its first thread gave sync_grid_group
  SharedMemory shared;
  bool met_others = false;   // at a sync_cluster or sync_grid_group, so that those of its cluster run
  bool used_others = false;  // their shared memory, since then

  bool has_exited() const { return exited == threads.size(); }
  /// What all threads of the block, which is not running, wait for, or that they have exited.
  State state() const { return threads[0].state; }
  Site site() const { return threads[0].site; }
};

/// Numbers that never repeat: an access made in an earlier epoch of its own block came before a barrier. A
/// phase of a grid group ends at a sync_grid_group; in each one every cluster of the group runs once. A stage
/// of a cluster ends at a sync_cluster; in each one every block of the cluster runs once.
struct Epochs {
  std::uint32_t now = 0, first_of_block = 0, first_of_stage = 0, first_of_cluster = 0, first_of_phase = 0,
                first_of_grid_group = 0, first_of_launch = 0;
};

extern Block* running_block;
extern Thread* running;  // null while the host runs
extern Epochs epochs;
extern Launch launched;
extern void (*launched_kernel)(const void*);
extern const void* arguments_begin;
extern const void* arguments_end;

/// The order in which threads and blocks take their turns. Seed 1: ascending, 2: descending, from 3 on
/// random. 0, the quickest, is ascending too, and a warp runs until it waits for others before the next one
/// starts.
class Order {
 public:
  explicit Order(unsigned seed) : seed_(seed), state_(seed) {}
  bool by_warps() const { return seed_ == 0; }

  /// Puts items that come in ascending order into this one.
  template <typename T>
  void arrange(std::vector<T>& items) {
    if (seed_ == 2) std::reverse(items.begin(), items.end());
    for (std::size_t i = items.size(); seed_ > 2 && i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

 private:
  /// splitmix64, scaled to [0, bound) without a division.
  std::size_t below(std::size_t bound) {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z >> 32) * bound >> 32;
  }

  unsigned seed_;
  std::uint64_t state_;
};

/// Where the shared memory of the grid group's i-th block is: arrays with gaps between them that
/// AddressSanitizer watches.
constexpr std::size_t kGap = 64, kArena = kShared + 256 * kGap;
extern char shared_arenas[kMaxGridGroup][kArena];
/// Whether the address is in the shared memory of any block, or of the one given.
inline bool is_shared_address(const void* address) {
  const char *p = static_cast<const char*>(address), *first = shared_arenas[0];
  return p >= first && p < first + sizeof shared_arenas;
}
inline bool is_shared_of(const SharedMemory& memory, const void* address) {
  return address >= memory.arena && static_cast<const char*>(address) < memory.arena + kArena;
}
/// Whether the address is in the shared memory of a block of the running block's cluster.
bool is_shared_of_cluster(const void* address);
/// The number of the address within the shared memory of all blocks, for the race detector's shadow.
std::size_t shared_offset(const void* address);
/// Forgets the arrays of the block before; fills the dynamic part with NaN bytes.
void begin_shared_memory(SharedMemory& memory, std::size_t dynamic_bytes);

/// Ends the kernel: from a thread, which does not return, or from the host. Only `what` is freed of all that
/// the caller's stack owns on the heap, so a thread must not own other strings when it calls this.
[[noreturn]] void fail(std::string what);
std::string str(Site site);
/// The name of the function that kernels call to wait at such a barrier.
const char* name_of(State barrier);

inline bool is_same_place(Site a, Site b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

Index unflatten(std::size_t i, Index shape);

/// What the fiber of every thread runs: the kernel, again and again.
void run_thread();
/// Block `number` of the grid, of which nothing has run yet.
void begin_block(Block& block, std::size_t number);
/// Runs a block until all its threads have exited, or all wait at one sync_cluster or sync_grid_group.
void run_block(Block& block, Order& order);

/// Makes the blocks of a grid group of `launched`, with a fiber for every thread.
void make_grid_group();
/// Called before the first grid group of a grid.
void begin_grid_groups();
/// Runs all blocks of a grid group, of which `first` is the first, to their ends.
void run_grid_group(std::size_t first, Order& order);
/// Threads that were suspended in a failed grid group will not go on.
void discard_threads();

/// Lets every collective of a warp go on for which all lanes have arrived: their lanes, a bit each.
unsigned complete_collectives(Thread* warp, unsigned lanes);

// The race detector; in builds without it nobody calls race_check().
#ifdef SIMT_RACE_DETECTOR
constexpr bool kRaceDetector = true;
#else
constexpr bool kRaceDetector = false;
#endif
/// Whether accesses are checked: detect_races().
extern bool detecting;
/// Whether the access is one of a kernel, to more than the thread's own stack.
inline bool is_watched(const void* address) {
  return detecting && running != nullptr && !running->fiber->owns(address);
}
/// One access of the running thread, to any memory; `code` is where the kernel makes it.
void race_check(const void* address, std::size_t bytes, bool write, const void* code, bool atomic);
/// Whether accesses are checked from now on; those that are not are forgotten.
void detect_races(bool on);
/// The first race found in the launch, or "".
std::string take_race_report();

}  // namespace simt
