#include "evenkeel/kernels/cpu/lanes.h"
#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/kernels/fused_run.h"

namespace evenkeel::cpu::EK_ISA {

template <typename T>
void store_units(const StoreUnitsArgs<T>& a) {
  const std::int64_t lanes = a.lanes, units = (a.N + lanes - 1) / lanes;
  parallel_for(units, lanes * a.size, [&](std::int64_t unit) {
    const std::int64_t count = std::min(lanes, a.N - unit * lanes);
    const T* from = a.units + unit * lanes * a.size;
    T* to = a.x + unit * lanes * a.size;
    if (lanes == kRegisterLanes<T>) {
      store_unit<T>(to, reinterpret_cast<const Register<T>*>(from), a.size, a.size, count);
      return;
    }
    for (std::int64_t l = 0; l < count; ++l) {
      for (std::int64_t i = 0; i < a.size; ++i) to[l * a.size + i] = from[i * lanes + l];
    }
  });
}

template void store_units(const StoreUnitsArgs<float>&);
template void store_units(const StoreUnitsArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
