// Threads of the CPU backend.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace evenkeel::cpu {

inline int num_threads() { return omp_get_max_threads(); }
inline void set_num_threads(int n) { omp_set_num_threads(n); }

/// Calls f(i) for i in [0, n), each once, in any order, on all threads if n * cost is worth it; `cost` is the
/// work of one call, in element operations. f must not throw, and what it computes must not depend on the
/// thread: then the result does not depend on their number either.
template <typename F>
void parallel_for(std::int64_t n, std::int64_t cost, F&& f) {
  constexpr std::int64_t kWorthAThread =
      16384;  // starting and joining costs about as much as this many operations
#pragma omp parallel for schedule(static) if (n > 1 && n * cost >= 2 * kWorthAThread)
  for (std::int64_t i = 0; i < n; ++i) f(i);
}

/// Calls f(begin, end) for consecutive ranges that cover [0, n) and start at multiples of a fixed block.
template <typename F>
void parallel_for_ranges(std::int64_t n, F&& f) {
  constexpr std::int64_t kBlock = 16384;
  const std::int64_t blocks = (n + kBlock - 1) / kBlock;
  parallel_for(blocks, kBlock, [&](std::int64_t i) { f(i * kBlock, std::min(n, (i + 1) * kBlock)); });
}

}  // namespace evenkeel::cpu
