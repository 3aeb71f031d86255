#include "kernels/cpu/parallel.h"

#include <oneapi/tbb/global_control.h>

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

}  // namespace evenkeel::cpu
