// philox() for many blocks at once.
#pragma once

#include "evenkeel/kernels/cpu/simd.h"
#include "evenkeel/kernels/philox.h"

namespace evenkeel::cpu::EK_ISA {

#if defined(__AVX512F__)
using Words = __m512i;
EK_INLINE Words product(const Words& a, std::uint32_t b) {
  // The plain form makes GCC 12 warn of a header of its own.
  return _mm512_maskz_mul_epu32(0xff, a, _mm512_set1_epi64(static_cast<long long>(b)));
}
#elif defined(__AVX2__)
using Words = __m256i;
EK_INLINE Words product(const Words& a, std::uint32_t b) {
  return _mm256_mul_epu32(a, _mm256_set1_epi64x(static_cast<long long>(b)));
}
#endif

/// bits[k][b] = number k of the Philox block number[b], for `n` <= N blocks; N is a multiple of 8, and what
/// is past n is overwritten too. The rounds of Philox4x32-10 over arrays: a loop over calls of philox() takes
/// twice the time. Where there are products of the lower halves of 64-bit words, the words are these, and
/// what is in their upper halves means nothing.
template <std::int64_t N>
EK_INLINE void philox_many(std::uint32_t (&bits)[4][N], const RandomKey& key, const std::uint64_t* number,
                           std::int64_t n) {
  const auto seed0 = static_cast<std::uint32_t>(key.seed), seed1 = static_cast<std::uint32_t>(key.seed >> 32);
  const auto stream = static_cast<std::uint32_t>(key.stream_now());
#if defined(__AVX2__)
  typedef std::uint64_t Longs __attribute__((vector_size(sizeof(Words)), may_alias));
  constexpr std::int64_t kWords = sizeof(Words) / 8;
  static_assert(N % kWords == 0);
  for (std::int64_t b = 0; b < n; b += kWords) {
    Longs word[4];
    std::memcpy(&word[0], number + b, sizeof word[0]);
    word[1] = word[0] >> 32;
    word[2] = Longs{} + stream;
    word[3] = Longs{} + static_cast<std::uint32_t>(key.purpose);
    std::uint32_t k0 = seed0, k1 = seed1;
#  pragma GCC unroll 10
    for (int round = 0; round < 10; ++round, k0 += PHILOX_W32_0, k1 += PHILOX_W32_1) {
      const auto p0 = reinterpret_cast<Longs>(product(reinterpret_cast<Words>(word[0]), PHILOX_M4x32_0));
      const auto p1 = reinterpret_cast<Longs>(product(reinterpret_cast<Words>(word[2]), PHILOX_M4x32_1));
      word[0] = (p1 >> 32) ^ word[1] ^ (Longs{} + k0);
      word[1] = p1;
      word[2] = (p0 >> 32) ^ word[3] ^ (Longs{} + k1);
      word[3] = p0;
    }
    for (int k = 0; k < 4; ++k) {
#  pragma GCC unroll 8
      for (int i = 0; i < kWords; ++i) bits[k][b + i] = static_cast<std::uint32_t>(word[k][i]);
    }
  }
#else
  std::uint32_t k0 = seed0, k1 = seed1;
  for (std::int64_t b = 0; b < n; ++b) {
    bits[0][b] = static_cast<std::uint32_t>(number[b]);
    bits[1][b] = static_cast<std::uint32_t>(number[b] >> 32);
    bits[2][b] = stream;
    bits[3][b] = static_cast<std::uint32_t>(key.purpose);
  }
  for (int round = 0; round < 10; ++round, k0 += PHILOX_W32_0, k1 += PHILOX_W32_1) {
    for (std::int64_t b = 0; b < n; ++b) {
      const std::uint64_t p0 = static_cast<std::uint64_t>(PHILOX_M4x32_0) * bits[0][b];
      const std::uint64_t p1 = static_cast<std::uint64_t>(PHILOX_M4x32_1) * bits[2][b];
      bits[0][b] = static_cast<std::uint32_t>(p1 >> 32) ^ bits[1][b] ^ k0;
      bits[1][b] = static_cast<std::uint32_t>(p1);
      bits[2][b] = static_cast<std::uint32_t>(p0 >> 32) ^ bits[3][b] ^ k1;
      bits[3][b] = static_cast<std::uint32_t>(p0);
    }
  }
#endif
}

}  // namespace evenkeel::cpu::EK_ISA
