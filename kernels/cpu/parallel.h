// Threads of the CPU backend: oneTBB's. Its waiting threads sleep and its working ones take over what others
// have not begun, so that a busy machine slows a loop in proportion and no more.
#pragma once

#include <algorithm>
#include <cstdint>

namespace evenkeel::cpu {

/// OMP_NUM_THREADS at the start if that is a positive number, else the number of processors.
int num_threads();
void set_num_threads(int n);

/// Calls call(f, begin, end) for ranges that cover [0, n), of `grain` indices at least, on all threads.
void run_ranges(std::int64_t n, std::int64_t grain,
                void (*call)(const void* f, std::int64_t begin, std::int64_t end), const void* f);

/// Calls f(i) for i in [0, n), each once, in any order, on all threads if n * cost is worth it; `cost` is the
/// work of one call, in element operations. f must not throw, and what it computes must not depend on the
/// thread: then the result does not depend on their number either.
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
