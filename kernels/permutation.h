// A random order.
#pragma once

#include "evenkeel/kernels/common.h"
#include "evenkeel/kernels/philox.h"

namespace evenkeel {

/// order = a permutation of 0 .. n-1 that `key` names, by Fisher and Yates: for i = n-1 down to 1 the
/// elements at i and exchange_partner(key, i) are exchanged.
struct PermutationArgs {
  std::int64_t* order;
  RandomKey key;
  std::int64_t n;
};
namespace cpu {
void permutation(const PermutationArgs& args);
}
namespace cuda {
void permutation(const PermutationArgs& args, Stream stream);
}

__extension__ typedef unsigned __int128 WideProduct;

/// Uniform on 0 .. i to within (i + 1) / 2^64: 64 bits / 2^64 * (i + 1), rounded down.
EK_HOST_DEVICE inline std::int64_t exchange_partner(const RandomKey& key, std::int64_t i) {
  const auto bits = philox(key, static_cast<std::uint64_t>(i));
  const std::uint64_t wide = std::uint64_t{bits[0]} << 32 | bits[1];
  return static_cast<std::int64_t>(static_cast<WideProduct>(wide) * static_cast<WideProduct>(i + 1) >> 64);
}

}  // namespace evenkeel
