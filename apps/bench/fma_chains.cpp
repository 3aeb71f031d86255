#include "fma_chains.h"  // by its place: this file is compiled for each instruction set without apps/

#include "evenkeel/kernels/cpu/simd.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

template <int CHAINS, typename T>
EK_INLINE void run_chains(const FmaChainsArgs<T>& args) {
  constexpr int kWidth = kRegisterLanes<T>;
  const Register<T> factor = args.factor - Register<T>{}, term = args.term - Register<T>{};
  Register<T> chains[CHAINS];
  for (int k = 0; k < CHAINS; ++k) chains[k] = term * static_cast<T>(k);
  const std::int64_t steps = args.products / (CHAINS * kWidth);
  for (std::int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 24
    for (int k = 0; k < CHAINS; ++k) chains[k] = chains[k] * factor + term;
  }
  T sum = 0;
  for (int k = 0; k < CHAINS; ++k) {
    for (int lane = 0; lane < kWidth; ++lane) sum += chains[k][lane];
  }
  *args.sum = sum;
}

}  // namespace

template <typename T>
void fma_chains(const FmaChainsArgs<T>& args) {
  switch (args.chains) {
    case 8:
      return run_chains<8>(args);
    case 10:
      return run_chains<10>(args);
    case 12:
      return run_chains<12>(args);
    case 14:
      return run_chains<14>(args);
    case 16:
      return run_chains<16>(args);
    case 24:
      return run_chains<24>(args);
    default:
      break;
  }
}
template void fma_chains(const FmaChainsArgs<float>&);
template void fma_chains(const FmaChainsArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
