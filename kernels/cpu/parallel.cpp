#include "evenkeel/kernels/cpu/parallel.h"

#include <pthread.h>

#include <atomic>
#include <cstdlib>

#include "evenkeel/base/processors.h"
#include "evenkeel/kernels/cpu/thread_pool.h"

namespace evenkeel::cpu {
namespace {

constexpr int kMostThreads = 1 << 16;

int default_threads() {
  const char* wanted = std::getenv("OMP_NUM_THREADS");
  const long n = wanted != nullptr ? std::strtol(wanted, nullptr, 10) : 0;
  if (n > 0) return static_cast<int>(std::min<long>(n, kMostThreads));
  return available_processors();
}

/// How many threads may work.
std::atomic<int>& thread_count() {
  static std::atomic<int> count = [] {
    const int n = default_threads();
    thread_pool::set_limit(n);
    return n;
  }();
  return count;
}

/// fork() copies the thread that calls it and no other: a child of a process that has used the pool finds the
/// pool's state without the pool's threads, and perhaps locked by one of them. It never touches it.
std::atomic<bool> pool_used = false, pool_lost = false;

void after_fork_in_child() {
  if (pool_used) pool_lost = true;
}
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, after_fork_in_child);

}  // namespace

int num_threads() {
  if (pool_lost.load(std::memory_order_relaxed)) return 1;
  return thread_count().load(std::memory_order_relaxed);
}

void set_num_threads(int n) {
  if (pool_lost) return;
  n = std::min(n, kMostThreads);
  thread_count() = n;
  thread_pool::set_limit(n);
}

void run_ranges(std::int64_t n, std::int64_t grain, void (*call)(const void*, std::int64_t, std::int64_t),
                const void* f) {
  if (!pool_used.load(std::memory_order_relaxed)) pool_used = true;
  thread_pool::run(n, grain, call, f);
}

}  // namespace evenkeel::cpu
