#include "evenkeel/kernels/cpu/fused/memory.h"

namespace evenkeel::cpu {

template <typename T>
std::int64_t fused_run_memory(const RunBlock<T>* blocks, std::int64_t count, std::int64_t N,
                              bool x_in_units) {
  return EK_ISA::RunLayout<T>(blocks, count, N, x_in_units).bytes();
}

template std::int64_t fused_run_memory(const RunBlock<float>*, std::int64_t, std::int64_t, bool);
template std::int64_t fused_run_memory(const RunBlock<double>*, std::int64_t, std::int64_t, bool);

}  // namespace evenkeel::cpu
