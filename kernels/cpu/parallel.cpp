#include "kernels/cpu/parallel.h"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>

#include <cstdlib>
#include <memory>
#include <thread>

namespace evenkeel::cpu {
namespace {

using oneapi::tbb::global_control;

int default_threads() {
  const char* wanted = std::getenv("OMP_NUM_THREADS");
  const int n = wanted != nullptr ? std::atoi(wanted) : 0;
  return n > 0 ? n : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

/// How many threads may work, and oneTBB's handle on that.
struct Threads {
  int count = 0;
  std::unique_ptr<global_control> limit;

  explicit Threads(int n) { set(n); }
  void set(int n) {
    count = n;
    limit = std::make_unique<global_control>(global_control::max_allowed_parallelism,
                                             static_cast<std::size_t>(n));
  }
};

Threads& threads() {
  static Threads instance(default_threads());
  return instance;
}

}  // namespace

int num_threads() { return threads().count; }
void set_num_threads(int n) { threads().set(n); }

void run_ranges(std::int64_t n, std::int64_t grain, void (*call)(const void*, std::int64_t, std::int64_t),
                const void* f) {
  const oneapi::tbb::blocked_range<std::int64_t> range(0, n, static_cast<std::size_t>(grain));
  oneapi::tbb::parallel_for(range, [=](const auto& part) { call(f, part.begin(), part.end()); });
}

}  // namespace evenkeel::cpu
