#include "evenkeel/kernels/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "evenkeel/kernels/cpu/parallel.h"

namespace evenkeel::cpu {
namespace {

/// Fills y in blocks of four: make(bits, out) maps 4 x 32 random bits to four values.
template <typename T, typename F>
void fill_from(const RandomArgs<T>& args, F make) {
  parallel_for_ranges(args.n, [&](std::int64_t begin, std::int64_t end) {  // begin is a multiple of 4
    for (std::int64_t i = begin; i < end; i += 4) {
      T values[4];
      make(philox(args.key, static_cast<std::uint64_t>(i / 4)), values);
      for (std::int64_t k = 0; k < 4 && i + k < end; ++k) args.y[i + k] = values[k];
    }
  });
}

}  // namespace

template <typename T>
void uniform(const RandomArgs<T>& args) {
  // In T and with the fused multiply-add written out: the same bits on every device.
  const UniformInterval<T> interval(args.a, args.b);
  fill_from(args, [=](const auto& bits, T* out) {
    for (int k = 0; k < 4; ++k) out[k] = interval.at(unit_interval(bits[k]));
  });
}

template <typename T>
void normal(const RandomArgs<T>& args) {
  fill_from(args, [&](const auto& bits, T* out) {
    for (int k = 0; k < 4; k += 2) {
      // Box and Muller; 1 - u is in (0, 1], so that the logarithm is finite.
      const double radius = std::sqrt(-2 * std::log(1.0 - unit_interval(bits[k])));
      const double angle = 2 * std::numbers::pi * unit_interval(bits[k + 1]);
      out[k] = static_cast<T>(args.a + args.b * radius * std::cos(angle));
      out[k + 1] = static_cast<T>(args.a + args.b * radius * std::sin(angle));
    }
  });
}

template void uniform(const RandomArgs<float>&);
template void uniform(const RandomArgs<double>&);
template void normal(const RandomArgs<float>&);
template void normal(const RandomArgs<double>&);

}  // namespace evenkeel::cpu
