// A block that runs: its threads as fibers, its barriers, and the order in which threads take their turns.
#include "evenkeel/simt/block.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

namespace simt {

BuiltIns current;
Block* running_block = nullptr;
Thread* running = nullptr;
Epochs epochs;
Launch launched{};
void (*launched_kernel)(const void*) = nullptr;
const void* arguments_begin = nullptr;
const void* arguments_end = nullptr;

namespace {

constexpr std::uint64_t kMostRounds = 200000;  // between two barriers, or barriers: after more, a block spins

// The state of the block that runs.
std::vector<Thread*> ready;                          // whose turn comes in this round
std::size_t turn = 0;                                // the place in `ready` of the next one
unsigned warps_to_check = 0;                         // a bit each
std::size_t at_barrier = 0, waiting_for_blocks = 0;  // threads

std::string failure;  // set by a thread that broke a rule

/// SIMT_SKIP_BARRIER=reduce.cuh:46 takes one __syncthreads, sync_cluster or sync_grid_group out of the
/// kernels, to see whether the tests notice.
const char* const skipped = std::getenv("SIMT_SKIP_BARRIER");

/// Without std::string, whose functions may be the kernels' own, which report what they write.
bool is_named(Site site, const char* name) {
  const char *colon = std::strrchr(name, ':'), *slash = std::strrchr(site.file, '/');
  if (colon == nullptr) return false;
  const char* file = slash != nullptr ? slash + 1 : site.file;
  const auto length = static_cast<std::size_t>(colon - name);
  return std::strlen(file) == length && std::strncmp(file, name, length) == 0 &&
         std::strtoul(colon + 1, nullptr, 10) == site.line;
}

void take_turn(Thread& t) {
  running = &t;
  current.thread_index = t.index;
}

/// From the running thread to the next one of the round, without a way back over the host's stack.
void end_turn(State state) {
  Thread& t = *running;
  t.state = state;
  if (state == State::at_barrier) {
    ++at_barrier;
  } else if (state == State::at_cluster_barrier || state == State::at_grid_group_barrier) {
    ++waiting_for_blocks;
  } else {
    warps_to_check |= 1u << t.warp();
  }
  if (turn == ready.size()) {
    t.fiber->leave();
    return;
  }
  take_turn(*ready[turn++]);
  t.fiber->switch_to(*running->fiber);
}

void wait(State state, Site site) {
  running->site = site;
  end_turn(state);
}

void make_ready(Thread& t) {
  t.state = State::ready;
  ready.push_back(&t);
}

void start_clock(Thread& t) {
  if constexpr (!kRaceDetector) return;
  t.clock = {};
  t.clock[t.lane()] = 1;
}

/// Threads that wait for the same at one place.
struct Group {
  const Thread* first;
  unsigned threads;
};

std::vector<Group> waiting_groups(const Block& block) {
  std::vector<Group> groups;
  for (const Thread& t : block.threads) {
    if (t.state == State::exited) continue;
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const Group& g) {
      return g.first->state == t.state && is_same_place(g.first->site, t.site);
    });
    if (group == groups.end()) {
      groups.push_back({&t, 1});
    } else {
      ++group->threads;
    }
  }
  return groups;
}

/// Nobody can go on: says who waits where, and for what.
[[noreturn]] void report_stuck(const Block& block) {
  const std::vector<Group> groups = waiting_groups(block);
  const Thread& t = *groups[0].first;
  if (groups.size() == 1 && t.state != State::in_collective)
    fail(std::string(name_of(t.state)) + " at " + str(t.site) + " is never reached by " +
         std::to_string(block.exited) + " threads that have exited");
  std::string who = std::to_string(block.exited) + " threads have exited";
  for (const Group& g : groups) {
    const State state = g.first->state;
    who += "; thread " + std::to_string(g.first->id) +
           (g.threads > 1 ? " and " + std::to_string(g.threads - 1) + " more wait at " : " waits at ") +
           str(g.first->site) +
           (state == State::at_barrier              ? " for the block"
            : state == State::at_cluster_barrier    ? " for the cluster"
            : state == State::at_grid_group_barrier ? " for the grid group"
                                                    : " for the warp");
  }
  fail("deadlock: " + who);
}

/// All threads of the block wait for the block, or for others: at one place.
void check_same_place(const Block& block) {
  const Thread& a = block.threads[0];
  for (const Thread& b : block.threads) {
    if (!is_same_place(b.site, a.site))
      fail("threads " + std::to_string(a.id) + " and " + std::to_string(b.id) + " wait at different " +
           name_of(a.state) + ": " + str(a.site) + " and " + str(b.site));
  }
}

/// Nobody is ready: true if all threads wait for other blocks.
bool waits_for_blocks(const Block& block) {
  if (at_barrier == block.threads.size()) return false;
  if (waiting_for_blocks < block.threads.size()) report_stuck(block);
  check_same_place(block);
  return true;
}

/// Gives every thread that is ready one turn; returns the warps, a bit each, in which one did not end up
/// waiting at a barrier.
unsigned run_round() {
  if (ready.empty()) return 0;
  warps_to_check = 0;
  turn = 1;
  take_turn(*ready[0]);
  running->fiber->enter();
  running = nullptr;
  if (!failure.empty()) throw Failure(std::exchange(failure, ""));
  ready.clear();
  return warps_to_check;
}

/// Runs threads [first, first + count), whole warps, until each waits at a barrier, in a collective for a
/// lane that does not come, or has exited.
void run_threads(Block& block, std::size_t first, std::size_t count, Order& order) {
  ready.clear();
  for (std::size_t i = first; i < first + count; ++i) make_ready(block.threads[i]);
  for (std::uint64_t rounds = 1; !ready.empty(); ++rounds) {
    if (rounds > kMostRounds || block.phases > kMostRounds)
      fail("a block does not end: a thread waits for memory to change?");
    order.arrange(ready);
    for (unsigned warps = run_round(); warps != 0; warps &= warps - 1) {
      const unsigned warp = static_cast<unsigned>(std::countr_zero(warps)) * kWarp;
      const auto lanes = std::min(kWarp, static_cast<unsigned>(block.threads.size()) - warp);
      for (unsigned done = complete_collectives(&block.threads[warp], lanes); done != 0; done &= done - 1)
        make_ready(block.threads[warp + static_cast<unsigned>(std::countr_zero(done))]);
    }
  }
}

}  // namespace

void run_thread() {
  for (;;) {
    launched_kernel(arguments_begin);
    ++running_block->exited;
    end_turn(State::exited);
  }
}

void begin_block(Block& block, std::size_t number) {
  block.number = number;
  block.index = unflatten(number, launched.grid);
  block.exited = block.phases = 0;
  block.met_others = block.used_others = false;
  begin_shared_memory(block.shared, launched.dynamic_shared);
}

void run_block(Block& block, Order& order) {
  running_block = &block;
  current.block_index = block.index;
  epochs.first_of_block = ++epochs.now;
  const std::size_t all = block.threads.size(), at_once = order.by_warps() ? kWarp : all;
  for (;; ++epochs.now) {
    ++block.phases;
    at_barrier = waiting_for_blocks = 0;
    for (Thread& t : block.threads) start_clock(t);
    for (std::size_t first = 0; first < all; first += at_once)
      run_threads(block, first, std::min(at_once, all - first), order);
    if (block.has_exited() || waits_for_blocks(block)) return;
    check_same_place(block);
  }
}

void fail(std::string what) {
  what.insert(0, std::string("kernel ") + launched.name + ": ");
  if (running == nullptr) throw Failure(what);
  failure = std::move(what);  // which owns nothing now: the stack that it is on will be discarded
  running->fiber->leave();
  std::abort();  // a failed thread is never entered again
}

std::string str(Site site) {
  const char* slash = std::strrchr(site.file, '/');
  return std::string(slash != nullptr ? slash + 1 : site.file) + ":" + std::to_string(site.line);
}

const char* name_of(State barrier) {
  return barrier == State::at_grid_group_barrier ? "sync_grid_group"
         : barrier == State::at_cluster_barrier  ? "sync_cluster"
                                                 : "__syncthreads";
}

void sync_threads(Site site) {
  if (skipped != nullptr && is_named(site, skipped)) return;
  wait(State::at_barrier, site);
}

void sync_grid_group(unsigned* arrivals, int blocks, Site site) {
  if (blocks != static_cast<int>(launched.grid_group))
    fail("sync_grid_group at " + str(site) + " of " + std::to_string(blocks) +
         " blocks, in a launch with grid groups of " + std::to_string(launched.grid_group));
  if (blocks == 1) return sync_threads(site);
  if (skipped != nullptr && is_named(site, skipped)) return;
  if (running->id == 0) running_block->arrivals = arrivals;
  wait(State::at_grid_group_barrier, site);
}

void sync_cluster(Site site) {
  if (launched.cluster == 1) return sync_threads(site);
  if (skipped != nullptr && is_named(site, skipped)) return;
  wait(State::at_cluster_barrier, site);
}
int cluster_rank() { return static_cast<int>(running_block->number % launched.cluster); }
int cluster_size() { return static_cast<int>(launched.cluster); }

std::uint64_t warp_collective(WarpOp op, unsigned mask, std::uint64_t value, int operand, int width,
                              Site site) {
  Thread& t = *running;
  t.op = op;
  t.mask = mask;
  t.value = value;
  t.operand = operand;
  t.width = width;
  wait(State::in_collective, site);
  return t.result;
}

}  // namespace simt
