#include "simt/executor.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>

#include "simt/block.h"
#include "simt/memory.h"

#ifdef __SANITIZE_ADDRESS__
#  include <sanitizer/asan_interface.h>
#  define POISON(address, bytes) __asan_poison_memory_region(address, bytes)
#  define UNPOISON(address, bytes) __asan_unpoison_memory_region(address, bytes)
#else
#  define POISON(address, bytes) ((void)0)
#  define UNPOISON(address, bytes) ((void)0)
#endif

namespace simt {

BuiltIns current;
Thread* running = nullptr;
Epochs epochs;
Launch launched{};
const void* arguments_begin = nullptr;
const void* arguments_end = nullptr;

namespace {

constexpr std::size_t kGap = 64;               // poisoned, between shared arrays
constexpr std::uint64_t kMostRounds = 200000;  // a block that has not ended by then spins
alignas(256) char arena[kShared + 256 * kGap];

/// One SIMT_SHARED array of the current block.
struct Slot {
  const void* declaration;
  void* address;
};

std::vector<Thread> threads;
std::vector<Slot> slots;
std::size_t static_bytes = 0, arena_used = 0;
void (*entry)(const void*) = nullptr;
std::string failure;  // set by a thread that broke a rule

void fiber_body() {
  for (;;) {
    entry(arguments_begin);
    running->state = State::exited;
    running->fiber->leave();
  }
}

void wait(State state, Site site) {
  running->state = state;
  running->site = site;
  running->fiber->leave();
}

void enter(Thread& t) {
  running = &t;
  current.thread_index = t.index;
  t.fiber->enter();
  running = nullptr;
  if (!failure.empty()) fail(std::exchange(failure, ""));
}

/// Threads that were suspended in a failed block will not go on.
void discard_threads() {
  running = nullptr;
  for (Thread& t : threads) {
    if (t.state != State::exited) t.fiber->reset();
    t.state = State::exited;
  }
}

std::size_t product(Index i) { return std::size_t{i.x} * i.y * i.z; }
Index unflatten(std::size_t i, Index shape) {
  return {static_cast<unsigned>(i % shape.x), static_cast<unsigned>(i / shape.x % shape.y),
          static_cast<unsigned>(i / shape.x / shape.y)};
}

void check_limits(const Launch& launch) {
  const std::size_t block = product(launch.block);
  if (block < 1 || block > kMaxThreads || launch.block.z > 64)
    fail("a block of " + std::to_string(block) + " threads; 1 to 1024 are possible");
  if (product(launch.grid) < 1 || launch.grid.x > 0x7fffffffu || launch.grid.y > 65535 ||
      launch.grid.z > 65535)
    fail("a grid of (" + std::to_string(launch.grid.x) + ", " + std::to_string(launch.grid.y) + ", " +
         std::to_string(launch.grid.z) + ") blocks; (2^31-1, 65535, 65535) are the most");
  if (launch.dynamic_shared > kShared)
    fail(std::to_string(launch.dynamic_shared) + " bytes of shared memory; 232448 are the most");
}

void begin_block(std::size_t number) {
  epochs.first_of_block = ++epochs.now;
  current.block_index = unflatten(number, launched.grid);
  slots.clear();
  static_bytes = 0;
  UNPOISON(arena, sizeof arena);
  std::memset(arena, 0xFF, launched.dynamic_shared);
  POISON(arena + launched.dynamic_shared, sizeof arena - launched.dynamic_shared);
  arena_used = launched.dynamic_shared + kGap;
  for (Thread& t : threads) {
    t.state = State::ready;
    t.clock = {};
    t.clock[t.lane()] = 1;
  }
  race_check_block_begins();
}

/// All threads wait at one barrier: the next phase begins.
void pass_barrier() {
  for (Thread& t : threads) {
    if (t.site.line != threads[0].site.line || std::strcmp(t.site.file, threads[0].site.file) != 0)
      fail("threads " + std::to_string(threads[0].id) + " and " + std::to_string(t.id) +
           " wait at different __syncthreads: " + str(threads[0].site) + " and " + str(t.site));
    t.state = State::ready;
    t.clock = {};
    t.clock[t.lane()] = 1;
  }
  ++epochs.now;
}

/// Nobody can go on: says who waits where, and for what.
[[noreturn]] void report_stuck(std::size_t at_barrier, std::size_t exited) {
  for (const Thread& t : threads) {
    if (t.state == State::at_barrier && at_barrier + exited == threads.size())
      fail("__syncthreads at " + str(t.site) + " is never reached by " + std::to_string(exited) +
           " threads that have exited");
  }
  std::string who;
  for (const Thread& t : threads) {
    if (t.state == State::exited || who.size() > 400) continue;
    who += "; thread " + std::to_string(t.id) + " waits at " + str(t.site) +
           (t.state == State::at_barrier ? " for the block" : " for its warp");
  }
  fail("deadlock" + who);
}

void run_block(std::size_t number, std::vector<Thread*>& order, const std::function<void()>& reorder) {
  begin_block(number);
  for (std::uint64_t round = 0;; ++round) {
    if (round > kMostRounds) fail("a block does not end: a thread waits for memory to change?");
    reorder();
    for (Thread* t : order) {
      if (t->state == State::ready) enter(*t);
    }
    const auto count = [](State state) {
      return static_cast<std::size_t>(
          std::count_if(threads.begin(), threads.end(), [=](const Thread& t) { return t.state == state; }));
    };
    const std::size_t at_barrier = count(State::at_barrier), exited = count(State::exited);
    if (exited == threads.size()) return;
    if (complete_collectives(threads)) continue;
    if (at_barrier == threads.size()) {
      pass_barrier();
      continue;
    }
    report_stuck(at_barrier, exited);
  }
}

/// All blocks of one launch. `seed`: 1 ascending, 2 descending, else random threads, warps and blocks.
void run_grid(unsigned seed) {
  std::mt19937 random(seed);
  epochs.first_of_launch = epochs.now + 1;
  std::vector<Thread*> order;
  for (Thread& t : threads) order.push_back(&t);
  if (seed == 2) std::reverse(order.begin(), order.end());
  const auto reorder = [&] {
    if (seed > 2) std::shuffle(order.begin(), order.end(), random);
  };
  const std::size_t blocks = product(launched.grid);
  std::vector<std::size_t> sequence;
  if (seed > 2) {
    sequence.resize(blocks);
    std::iota(sequence.begin(), sequence.end(), 0);
    std::shuffle(sequence.begin(), sequence.end(), random);
  }
  for (std::size_t i = 0; i < blocks; ++i) {
    run_block(seed == 1 ? i : seed == 2 ? blocks - 1 - i : sequence[i], order, reorder);
    if (const std::string race = take_race_report(); !race.empty()) fail(race);
  }
}

void make_threads(Index block) {
  const std::size_t count = product(block);
  static std::vector<std::unique_ptr<Fiber>> pool;
  while (pool.size() < count) pool.push_back(std::make_unique<Fiber>(fiber_body));
  threads.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    threads[i].fiber = pool[i].get();
    threads[i].id = static_cast<unsigned>(i);
    threads[i].index = unflatten(i, block);
  }
}

int initial_orders() {
  const char* text = std::getenv("SIMT_ORDERS");
  return text == nullptr ? 3 : std::max(1, std::atoi(text));
}
int order_count = initial_orders();

}  // namespace

char* shared_arena() { return arena; }
bool is_shared_address(const void* address) {
  return address >= arena && static_cast<const char*>(address) < arena + sizeof arena;
}

void fail(const std::string& what) {
  const std::string message = std::string("kernel ") + launched.name + ": " + what;
  if (running == nullptr) throw Failure(message);
  failure = message;
  running->fiber->leave();
  std::abort();  // a failed thread is never entered again
}

std::string str(Site site) {
  const char* slash = std::strrchr(site.file, '/');
  return std::string(slash != nullptr ? slash + 1 : site.file) + ":" + std::to_string(site.line);
}

void sync_threads(Site site) { wait(State::at_barrier, site); }

std::uint64_t warp_collective(WarpOp op, unsigned mask, std::uint64_t value, int operand, int width,
                              Site site) {
  Thread& t = *running;
  if ((mask >> t.lane() & 1) == 0)
    fail("thread " + std::to_string(t.id) + " at " + str(site) + " is not in the mask it names");
  t.op = op;
  t.mask = mask;
  t.value = value;
  t.operand = operand;
  t.width = width;
  wait(State::in_collective, site);
  return t.result;
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
  char* address = arena + arena_used;
  arena_used += bytes + kGap;
  UNPOISON(address, bytes);
  std::memset(address, 0xFF, bytes);
  slots.push_back({declaration, address});
  return address;
}

int orders() { return order_count; }
void set_orders(int count) { order_count = count; }

void run(const Launch& launch, void (*kernel)(const void*), const void* arguments,
         std::size_t argument_bytes) {
  launched = launch;
  check_limits(launch);
  entry = kernel;
  arguments_begin = arguments;
  arguments_end = static_cast<const char*>(arguments) + argument_bytes;
  current.block_dim = launch.block;
  current.grid_dim = launch.grid;
  make_threads(launch.block);
  const DeviceAccess access;
  try {
    if (order_count == 1) {
      run_grid(3);
      return;
    }
    const DeviceSnapshot before;
    run_grid(1);
    const DeviceSnapshot after;
    for (int seed = 2; seed <= order_count; ++seed) {
      before.restore();
      run_grid(static_cast<unsigned>(seed));
      if (const std::string where = after.difference(); !where.empty())
        fail("the result depends on the order of threads and blocks, first at " + where);
    }
  } catch (...) {
    discard_threads();
    throw;
  }
}

}  // namespace simt
