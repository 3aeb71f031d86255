// Vector code of the CPU backend, written once: GCC compiles each EK_SIMD function for AVX-512, AVX2 and the
// baseline, and the loader picks.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/lanes.h"

// Only in functions that contain no lambda that is not inlined and no OpenMP region: those would not be
// cloned. Under a sanitizer there are no clones, as its checks do not survive the loader's early resolution.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(EVENKEEL_SANITIZED) && \
    !defined(EVENKEEL_NO_CLONES)
#  define EK_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#  define EK_SIMD
#endif
#define EK_INLINE inline __attribute__((always_inline))
#define EK_INLINE_LAMBDA __attribute__((always_inline))
// Before a loop over the lanes of a vector that compares: in EK_SIMD functions, comparisons of Vec are split
// into lanes before the instruction set is known; a loop is not, unless it is unrolled first.
#define EK_LANE_LOOP _Pragma("GCC unroll 1")

namespace evenkeel::cpu {

template <typename T>
struct VecOf;
template <>
struct VecOf<float> {
  typedef float whole __attribute__((vector_size(64), may_alias));
  typedef float half __attribute__((vector_size(32), may_alias));
  typedef std::int32_t half_index __attribute__((vector_size(32)));
};
template <>
struct VecOf<double> {
  typedef double whole __attribute__((vector_size(64), may_alias));
  typedef double half __attribute__((vector_size(32), may_alias));
  typedef std::int64_t half_index __attribute__((vector_size(32)));
};

/// kLanes<T> numbers of T.
template <typename T>
using Vec = typename VecOf<T>::whole;

/// True where a Vec is one of 32 registers, so that a kernel can hold many; else it is spread over several of
/// 16.
inline bool wide_registers() {
#if defined(__x86_64__)
  static const bool wide = __builtin_cpu_supports("avx512f") > 0;
  return wide;
#else
  return false;
#endif
}

/// The sum of f(0) .. f(n-1) in f64, in an order that depends on n alone: 16 running sums, added pairwise at
/// the end.
template <typename F>
EK_INLINE double lane_sum(std::int64_t n, F f) {
  constexpr int kSums = 16;
  double sums[kSums] = {};
  std::int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int k = 0; k < kSums; ++k) sums[k] += f(i + k);
  }
  for (int k = 0; i < n; ++i, ++k) sums[k] += f(i);
  for (int width = kSums / 2; width > 0; width /= 2) {
    for (int k = 0; k < width; ++k) sums[k] += sums[k + width];
  }
  return sums[0];
}

}  // namespace evenkeel::cpu
