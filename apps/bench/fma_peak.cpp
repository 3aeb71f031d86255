// The most multiply-adds a second that the CPU backend's vectors give: independent chains in registers.
#include <algorithm>

#include "bench/machine.h"
#include "console.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

// A version for each instruction set: the loader picks.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(EVENKEEL_SANITIZED)
#  define EK_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#  define EK_CLONES
#endif

namespace evenkeel::bench {
namespace {

using cpu::EK_ISA::Vec;
using evenkeel::kLanes;

constexpr std::int64_t kSteps = 1 << 16;

/// CHAINS vectors, each multiplied and added to kSteps times; returns their sum, so that nothing is left out.
template <typename T, int CHAINS>
EK_INLINE T run_chains(T factor, T term) {
  Vec<T> chains[CHAINS];
  const Vec<T> a = factor - Vec<T>{}, b = term - Vec<T>{};
  for (int k = 0; k < CHAINS; ++k) chains[k] = b * static_cast<T>(k);
  for (std::int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 16
    for (int k = 0; k < CHAINS; ++k) chains[k] = chains[k] * a + b;
  }
  T sum = 0;
  for (int k = 0; k < CHAINS; ++k) {
    for (int lane = 0; lane < kLanes<T>; ++lane) sum += chains[k][lane];
  }
  return sum;
}

// Twelve chains hide the latency of two units where a vector is one of 32 registers; where it takes two of 16
// only five stay in registers, and are enough.
template <typename T>
EK_CLONES T twelve_chains(T factor, T term) {
  return run_chains<T, 12>(factor, term);
}
template <typename T>
EK_CLONES T five_chains(T factor, T term) {
  return run_chains<T, 5>(factor, term);
}

template <typename T>
double flops_of(T (*chains)(T, T), int count) {
  constexpr int kTasks = 8, kTries = 20;
  const int tasks = kTasks * num_threads();
  std::vector<T> sums(static_cast<std::size_t>(tasks));
  double best = 0;
  for (int i = 0; i < kTries; ++i) {
    const app::Stopwatch clock;
    cpu::parallel_for(tasks, kSteps * count,
                      [&](std::int64_t t) { sums[static_cast<std::size_t>(t)] = chains(T(0.999), T(1e-3)); });
    best = std::max(best, 2.0 * static_cast<double>(kSteps) * count * kLanes<T> * tasks / clock.seconds());
  }
  return best;
}

}  // namespace

template <typename T>
double fma_peak() {
  return std::max(flops_of<T>(twelve_chains<T>, 12), flops_of<T>(five_chains<T>, 5));
}
template double fma_peak<float>();
template double fma_peak<double>();

}  // namespace evenkeel::bench
