// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011), from Random123, which compiles for the host and for CUDA devices alike.
#pragma once

#include <Random123/philox.h>

#include <cstdint>

#include "evenkeel/kernels/common.h"

namespace evenkeel {

/// What a random number is used for. Part of the counter, so that no two uses share numbers.
enum class RandomPurpose : std::uint32_t { init = 1, dropout, shuffle, rotate, tensor };

/// Names one stream of random numbers; number i of it is a pure function of (key, i).
struct RandomKey {
  std::uint64_t seed;
  RandomPurpose purpose;
  std::uint64_t stream;  ///< below 2^32: a step, an epoch, or the number of a draw
  /// Null, or a number in the device's memory that is added to `stream` when numbers are made: with it a CUDA
  /// graph draws others at each launch.
  const std::uint64_t* advance = nullptr;

  /// Called on an argument of a kernel: sets to zero what is data to the kernel, so that the SIMT executor
  /// (simt/) sees which launches are alike.
  void forget_data() { stream = 0; }

  EK_HOST_DEVICE std::uint64_t stream_now() const { return advance == nullptr ? stream : stream + *advance; }
};

/// Numbers 4*block .. 4*block+3 of the stream. block < 2^32.
EK_HOST_DEVICE inline r123::Philox4x32::ctr_type philox(const RandomKey& key, std::uint64_t block) {
  const auto lo = [](std::uint64_t v) { return static_cast<std::uint32_t>(v); };
  return r123::Philox4x32{}(
      {{lo(block), lo(block >> 32), lo(key.stream_now()), static_cast<std::uint32_t>(key.purpose)}},
      {{lo(key.seed), lo(key.seed >> 32)}});
}

/// Maps 32 random bits to [0, 1): the upper 24 bits, so that the result is exact in f32 and the same in f64.
EK_HOST_DEVICE inline float unit_interval(std::uint32_t bits) {
  return static_cast<float>(bits >> 8) * 0x1p-24f;
}

}  // namespace evenkeel
