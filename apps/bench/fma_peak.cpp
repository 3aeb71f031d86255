// The most multiply-adds a second of the vectors that the kernels use: those of cpu::isa().
#include <algorithm>

#include "bench/fma_chains.h"
#include "bench/machine.h"
#include "console.h"
#include "evenkeel/kernels/cpu/parallel.h"

namespace evenkeel::bench {
namespace {

constexpr std::int64_t kProducts = 16 * 1680 * 96;  // of a task: a multiple of 16 * each of kFmaChains
static_assert(std::all_of(std::begin(kFmaChains), std::end(kFmaChains),
                          [](int chains) { return kProducts % (16 * chains) == 0; }));

/// Operations a second of one attempt on so many threads.
template <typename T>
double attempt(int chains, int threads) {
  const std::int64_t tasks = threads == 1 ? 4 : 8 * threads;
  std::vector<T> sums(static_cast<std::size_t>(tasks));
  const app::Stopwatch clock;
  cpu::parallel_for(tasks, kProducts, [&](std::int64_t t) {
    cpu::fma_chains(
        FmaChainsArgs<T>{&sums[static_cast<std::size_t>(t)], T(0.999), T(1e-3), chains, kProducts});
  });
  return 2.0 * static_cast<double>(kProducts * tasks) / clock.seconds();
}

/// The best of many attempts: `kFew` with each number of chains, then with the best one until `kMany` in a
/// row are no better.
template <typename T>
double peak_on(int threads) {
  constexpr int kFew = 3, kMany = 20, kMost = 100;
  const WithThreads on(threads);
  double best = 0;
  int best_chains = kFmaChains[0], in_vain = 0;
  for (const int chains : kFmaChains) {
    for (int i = 0; i < kFew; ++i) {
      const double flops = attempt<T>(chains, threads);
      if (flops > best) best = flops, best_chains = chains;
    }
  }
  for (int i = 0; i < kMost && in_vain < kMany; ++i, ++in_vain) {
    const double flops = attempt<T>(best_chains, threads);
    if (flops > 1.002 * best) in_vain = 0;
    best = std::max(best, flops);
  }
  return best;
}

}  // namespace

template <typename T>
double fma_peak() {
  const int all = num_threads();
  return all == 1 ? peak_on<T>(1) : std::max(peak_on<T>(1), peak_on<T>(all));
}
template double fma_peak<float>();
template double fma_peak<double>();

}  // namespace evenkeel::bench
