#include "kernels/dropout.h"

#include <algorithm>

#include "kernels/cpu/lanes/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/philox_many.h"

namespace evenkeel::cpu {
namespace {

constexpr std::int64_t kBlocks = 64;  // Philox blocks of four numbers that are worked on together

/// y[i] for i in [begin, end); begin is a multiple of 4. Bits first, then the elements, so that both loops
/// vectorise.
template <typename T>
EK_SIMD void dropout_range(T* y, const T* x, RandomKey key, float p, T scale, std::int64_t begin,
                           std::int64_t end) {
  std::uint32_t bits[4][kBlocks];
  std::uint64_t number[kBlocks];
  for (std::int64_t i = begin; i < end; i += 4 * kBlocks) {
    const std::int64_t n = std::min(end - i, 4 * kBlocks), blocks = (n + 3) / 4;
    for (std::int64_t b = 0; b < blocks; ++b) number[b] = static_cast<std::uint64_t>(i / 4 + b);
    philox_many(bits, key, number, blocks);
    for (std::int64_t k = 0; k < n; ++k)
      y[i + k] = unit_interval(bits[k % 4][k / 4]) >= p ? x[i + k] * scale : T(0);
  }
}

}  // namespace

template <typename T>
void dropout(const DropoutArgs<T>& a) {
  if (a.format == MemoryFormat::lanes) return lanes::dropout(a);
  const T scale = static_cast<T>(1 / (1 - a.p));
  parallel_for_ranges(a.n, [&](std::int64_t begin, std::int64_t end) {
    dropout_range(a.y, a.x, a.key, static_cast<float>(a.p), scale, begin, end);
  });
}

template void dropout(const DropoutArgs<float>&);
template void dropout(const DropoutArgs<double>&);

}  // namespace evenkeel::cpu
