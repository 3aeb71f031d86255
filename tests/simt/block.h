// The state of the block that runs now: what the scheduler, the warp collectives and the race detector share.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "simt/executor.h"
#include "simt/fiber.h"

namespace simt {

constexpr unsigned kWarp = 32;
constexpr unsigned kMaxThreads = 1024;
constexpr std::size_t kStaticShared = 48 * 1024, kShared = 227 * 1024;

enum class State { ready, at_barrier, in_collective, exited };

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

/// Numbers that never repeat: an access made in an earlier epoch of its own block came before a barrier.
struct Epochs {
  std::uint32_t now = 0, first_of_block = 0, first_of_launch = 0;
};

extern Thread* running;  // null while the host runs
extern Epochs epochs;
extern Launch launched;
extern const void* arguments_begin;
extern const void* arguments_end;

/// The order in which threads and blocks take their turns. Seed 1: ascending, 2: descending, else random.
class Order {
 public:
  explicit Order(unsigned seed) : seed_(seed), state_(seed) {}

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

/// The block's shared memory, and whether an address lies in it.
char* shared_arena();
bool is_shared_address(const void* address);
/// Forgets the arrays of the block before; fills the dynamic part with NaN bytes.
void begin_shared_memory(std::size_t dynamic_bytes);

/// Ends the kernel: from a thread, which does not return, or from the host. Of what the caller's stack owns
/// on the heap only `what` is given back, so a thread passes nothing that leaves other strings behind.
[[noreturn]] void fail(std::string what);
std::string str(Site site);

Index unflatten(std::size_t i, Index shape);
void make_threads(Index block, void (*kernel)(const void*));
/// Runs all threads of a block to their ends.
void run_block(Index index, Order& order);
/// Threads that were suspended in a failed block will not go on.
void discard_threads();

/// Lets every collective of a warp go on for which all lanes have arrived: their lanes, a bit each.
unsigned complete_collectives(Thread* warp, unsigned lanes);

// The race detector; in builds without it nobody calls race_check().
#ifdef SIMT_RACE_DETECTOR
constexpr bool kRaceDetector = true;
#else
constexpr bool kRaceDetector = false;
#endif
/// One access of the running thread, to any memory; `code` is where the kernel makes it.
void race_check(const void* address, std::size_t bytes, bool write, const void* code, bool atomic);
/// The first race found in the launch, or "".
std::string take_race_report();

}  // namespace simt
