// Multiply-adds in registers, compiled for each instruction set: the most that a kernel of that set can do.
#pragma once

#include <cstdint>

#include "evenkeel/kernels/isa.h"

namespace evenkeel {

/// `products` multiply-adds x = x * factor + term on elements of T, in `chains` registers that do not depend
/// on each other. `chains` is one of kFmaChains, `products` a multiple of 16 * chains. *sum gets the sum of
/// all elements, so that nothing is left out.
template <typename T>
struct FmaChainsArgs {
  T* sum;
  T factor, term;
  int chains;
  std::int64_t products;
};

/// Enough to hide the latency of two units that take four or five cycles; more than 14 need 32 registers.
inline constexpr int kFmaChains[] = {8, 10, 12, 14, 16, 24};

EK_DECLARE_CPU_VECTOR_KERNEL(fma_chains, FmaChainsArgs)

}  // namespace evenkeel
