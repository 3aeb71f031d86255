// The state of the block that runs now: what the scheduler, the warp collectives and the race detector share.
#pragma once

#include <array>
#include <cstdint>
#include <string>
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

/// The block's shared memory, and whether an address lies in it.
char* shared_arena();
bool is_shared_address(const void* address);

/// Ends the kernel: from a thread, which does not return, or from the host.
[[noreturn]] void fail(const std::string& what);
std::string str(Site site);

/// Lets every warp collective go on for which all lanes have arrived; false if there was none.
bool complete_collectives(std::vector<Thread>& threads);

// The race detector; empty functions in builds without it.
void race_check_block_begins();
/// The first race found in the launch, or "".
std::string take_race_report();

}  // namespace simt
