// philox() for many blocks at once.
#pragma once

#include "evenkeel/kernels/cpu/simd.h"
#include "evenkeel/kernels/philox.h"

namespace evenkeel::cpu::EK_ISA {

/// bits[k][b] = number k of the Philox block number[b], for `n` <= N blocks. The rounds of Philox4x32-10 over
/// arrays: a loop over calls of philox() takes twice the time.
template <std::int64_t N>
EK_INLINE void philox_many(std::uint32_t (&bits)[4][N], const RandomKey& key, const std::uint64_t* number,
                           std::int64_t n) {
  auto k0 = static_cast<std::uint32_t>(key.seed), k1 = static_cast<std::uint32_t>(key.seed >> 32);
  const auto stream = static_cast<std::uint32_t>(key.stream_now());
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
}

}  // namespace evenkeel::cpu::EK_ISA
