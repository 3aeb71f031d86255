// Loops of the CPU backend, on the threads of its pool (kernels/cpu/thread_pool.h).
#pragma once

#include <algorithm>
#include <cstdint>

namespace evenkeel::cpu {

/// OMP_NUM_THREADS at the start if that is a positive number, else available_processors(). In a child of
/// fork() whose parent has used the pool, 1 for good: its threads are not there.
int num_threads();
/// Sets the number for loops that begin later; others may be running.
void set_num_threads(int n);

/// Calls call(f, begin, end) for ranges that cover [0, n), of `grain` indices at least, on all threads.
void run_ranges(std::int64_t n, std::int64_t grain,
                void (*call)(const void* f, std::int64_t begin, std::int64_t end), const void* f);

/// Calls f(i) for i in [0, n), each once, in any order, on all threads if n * cost is worth it; `cost` is the
/// work of one call, in element operations. What f computes must not depend on the thread: then the result
/// does not depend on their number either. The first exception that f throws reaches the caller, once the
/// calls that have begun are over; some others are then left out. f may contain loops of its own.
template <typename F>
void parallel_for(std::int64_t n, std::int64_t cost, const F& f) {
  constexpr std::int64_t kWorthATask =
      16384;  // handing over a task costs about as much as this many operations
  if (n <= 1 || n * cost < 2 * kWorthATask || num_threads() == 1) {
    for (std::int64_t i = 0; i < n; ++i) f(i);
    return;
  }
  const auto call = [](const void* function, std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) (*static_cast<const F*>(function))(i);
  };
  run_ranges(n, std::max<std::int64_t>(1, kWorthATask / std::max<std::int64_t>(cost, 1)), call, &f);
}

/// Calls f(begin, end) for consecutive ranges that cover [0, n) and start at multiples of a fixed block.
template <typename F>
void parallel_for_ranges(std::int64_t n, const F& f) {
  constexpr std::int64_t kBlock = 16384;
  const std::int64_t blocks = (n + kBlock - 1) / kBlock;
  parallel_for(blocks, kBlock, [&](std::int64_t i) { f(i * kBlock, std::min(n, (i + 1) * kBlock)); });
}

}  // namespace evenkeel::cpu
