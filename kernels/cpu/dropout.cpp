#include "evenkeel/kernels/dropout.h"

#include <algorithm>

#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/kernels/cpu/philox_many.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

constexpr std::int64_t kBlocks = 64;  // Philox blocks of four numbers that are worked on together

/// y[i] for i in [begin, end); begin is a multiple of 4. Bits first, then their order, then the elements, so
/// that every loop vectorises; the first two also work on numbers past the end.
template <typename T>
void dropout_range(T* y, const T* x, RandomKey key, float p, T scale, std::int64_t begin, std::int64_t end) {
  std::uint32_t bits[4][kBlocks], in_order[4 * kBlocks];
  std::uint64_t number[kBlocks];
  for (std::int64_t i = begin; i < end; i += 4 * kBlocks) {
    for (std::int64_t b = 0; b < kBlocks; ++b) number[b] = static_cast<std::uint64_t>(i / 4 + b);
    philox_many(bits, key, number, kBlocks);
    for (std::int64_t b = 0; b < kBlocks; ++b) {
      for (int k = 0; k < 4; ++k) in_order[4 * b + k] = bits[k][b];
    }
    const std::int64_t n = std::min(end - i, 4 * kBlocks);
    for (std::int64_t k = 0; k < n; ++k) {
      const T scaled = x[i + k] * scale;
      y[i + k] = unit_interval(in_order[k]) >= p ? scaled : T(0);
    }
  }
}

}  // namespace

template <typename T>
void dropout(const DropoutArgs<T>& a) {
  const T scale = static_cast<T>(1 / (1 - a.p));
  parallel_for_ranges(a.n, [&](std::int64_t begin, std::int64_t end) {
    dropout_range(a.y, a.x, a.key, static_cast<float>(a.p), scale, begin, end);
  });
}

template void dropout(const DropoutArgs<float>&);
template void dropout(const DropoutArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
