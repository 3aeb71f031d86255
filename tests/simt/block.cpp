// One block: its threads as fibers, the barrier, and the order in which threads take their turns.
#include "simt/block.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

namespace simt {

BuiltIns current;
Thread* running = nullptr;
Epochs epochs;
Launch launched{};
const void* arguments_begin = nullptr;
const void* arguments_end = nullptr;

namespace {

constexpr std::uint64_t kMostRounds = 200000;  // a block that has not ended by then spins

std::vector<Thread> threads;
std::vector<Thread*> ready;   // whose turn comes in this round
std::size_t turn = 0;         // of them the next
unsigned warps_to_check = 0;  // a bit each
std::size_t at_barrier = 0, exited = 0;
void (*entry)(const void*) = nullptr;
std::string failure;  // set by a thread that broke a rule

/// SIMT_SKIP_BARRIER=reduce.cuh:46 takes one __syncthreads out of the kernels, to see whether the tests
/// notice. Without std::string, whose functions may be the kernels' own, which report what they write.
bool is_skipped(Site site) {
  static const char* const skipped = std::getenv("SIMT_SKIP_BARRIER");
  if (skipped == nullptr) return false;
  const char *colon = std::strrchr(skipped, ':'), *slash = std::strrchr(site.file, '/');
  if (colon == nullptr) return false;
  const char* file = slash != nullptr ? slash + 1 : site.file;
  const auto length = static_cast<std::size_t>(colon - skipped);
  return std::strlen(file) == length && std::strncmp(file, skipped, length) == 0 &&
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

void fiber_body() {
  for (;;) {
    entry(arguments_begin);
    ++exited;
    end_turn(State::exited);
  }
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

bool same_place(Site a, Site b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

/// All threads wait at one barrier: the next phase begins.
void pass_barrier() {
  for (Thread& t : threads) {
    if (!same_place(t.site, threads[0].site))
      fail("threads " + std::to_string(threads[0].id) + " and " + std::to_string(t.id) +
           " wait at different __syncthreads: " + str(threads[0].site) + " and " + str(t.site));
    make_ready(t);
    start_clock(t);
  }
  at_barrier = 0;
  ++epochs.now;
}

/// Nobody can go on: says who waits where, and for what.
[[noreturn]] void report_stuck() {
  if (at_barrier + exited == threads.size()) {
    const auto waiting = std::find_if(threads.begin(), threads.end(),
                                      [](const Thread& t) { return t.state == State::at_barrier; });
    fail("__syncthreads at " + str(waiting->site) + " is never reached by " + std::to_string(exited) +
         " threads that have exited");
  }
  struct Group {
    const Thread* first;
    unsigned threads;
  };
  std::vector<Group> groups;
  for (const Thread& t : threads) {
    if (t.state == State::exited) continue;
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const Group& g) {
      return g.first->state == t.state && same_place(g.first->site, t.site);
    });
    if (group == groups.end()) {
      groups.push_back({&t, 1});
    } else {
      ++group->threads;
    }
  }
  std::string who = std::to_string(exited) + " threads have exited";
  for (const Group& g : groups) {
    who += "; thread " + std::to_string(g.first->id) +
           (g.threads > 1 ? " and " + std::to_string(g.threads - 1) + " more wait at " : " waits at ") +
           str(g.first->site) + (g.first->state == State::at_barrier ? " for the block" : " for the warp");
  }
  fail("deadlock: " + who);
}

/// Gives every thread that is ready one turn; returns the warps, a bit each, in which one did not end up
/// waiting for the block.
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

}  // namespace

void make_threads(Index block, void (*kernel)(const void*)) {
  static std::vector<std::unique_ptr<Fiber>> pool;
  const std::size_t count = std::size_t{block.x} * block.y * block.z;
  entry = kernel;
  while (pool.size() < count) pool.push_back(std::make_unique<Fiber>(fiber_body));
  threads.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    threads[i].fiber = pool[i].get();
    threads[i].id = static_cast<unsigned>(i);
    threads[i].index = unflatten(i, block);
  }
}

void discard_threads() {
  running = nullptr;
  for (Thread& t : threads) {
    if (t.state != State::exited) t.fiber->reset();
    t.state = State::exited;
  }
}

void run_block(Index index, Order& order) {
  epochs.first_of_block = ++epochs.now;
  current.block_index = index;
  begin_shared_memory(launched.dynamic_shared);
  at_barrier = exited = 0;
  ready.clear();
  for (Thread& t : threads) {
    make_ready(t);
    start_clock(t);
  }
  for (std::uint64_t round = 0; exited < threads.size(); ++round) {
    if (round > kMostRounds) fail("a block does not end: a thread waits for memory to change?");
    order.arrange(ready);
    for (unsigned warps = run_round(); warps != 0; warps &= warps - 1) {
      const unsigned first = static_cast<unsigned>(std::countr_zero(warps)) * kWarp;
      const auto lanes = std::min(kWarp, static_cast<unsigned>(threads.size()) - first);
      for (unsigned done = complete_collectives(&threads[first], lanes); done != 0; done &= done - 1)
        make_ready(threads[first + static_cast<unsigned>(std::countr_zero(done))]);
    }
    if (!ready.empty() || exited == threads.size()) continue;
    if (at_barrier < threads.size()) report_stuck();
    pass_barrier();
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

void sync_threads(Site site) {
  if (is_skipped(site)) return;
  wait(State::at_barrier, site);
}

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
