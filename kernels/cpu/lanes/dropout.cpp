#include "kernels/dropout.h"

#include <algorithm>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/lanes/ops.h"
#include "kernels/cpu/parallel.h"

namespace evenkeel::cpu::lanes {
namespace {

/// Elements [begin, end) of a block of images of `size` elements, the first of which has number `first`.
/// begin is a multiple of 4. Where size is too, the four numbers of a Philox block belong to four neighbouring
/// elements of one image.
template <typename T>
EK_SIMD void dropout_range(Vec<T>* y, const Vec<T>* x, RandomKey key, float p, T scale, std::uint64_t first,
                           std::uint64_t size, std::int64_t begin, std::int64_t end) {
  constexpr int L = kLanes<T>;
  std::uint32_t bits[4][L];
  for (std::int64_t i = begin; i < end; i += 4) {
    if (size % 4 == 0) {
      for (int l = 0; l < L; ++l) {
        const auto four = philox(key, (first + static_cast<std::uint64_t>(l) * size + static_cast<std::uint64_t>(i)) / 4);
        for (int k = 0; k < 4; ++k) bits[k][l] = four[k];
      }
    } else {
      for (int k = 0; k < 4; ++k) {
        for (int l = 0; l < L; ++l) {
          const std::uint64_t number =
              first + static_cast<std::uint64_t>(l) * size + static_cast<std::uint64_t>(i + k);
          bits[k][l] = philox(key, number / 4)[number % 4];
        }
      }
    }
    for (int k = 0; k < 4 && i + k < end; ++k) {
      const T* from = reinterpret_cast<const T*>(x + i + k);
      T* to = reinterpret_cast<T*>(y + i + k);
      for (int l = 0; l < L; ++l) to[l] = unit_interval(bits[k][l]) >= p ? from[l] * scale : T(0);
    }
  }
}

}  // namespace

template <typename T>
void dropout(const DropoutArgs<T>& a) {
  constexpr std::int64_t kElements = 64;  // of a task, in all images of a block
  const std::int64_t size = a.n / a.N, tasks = (size + kElements - 1) / kElements;
  const T scale = static_cast<T>(1 / (1 - a.p));
  parallel_for(lane_blocks<T>(a.N) * tasks, 4 * kElements * kLanes<T>, [&](std::int64_t i) {
    const std::int64_t block = i / tasks, begin = i % tasks * kElements;
    dropout_range(as_lanes(a.y) + block * size, as_lanes(a.x) + block * size, a.key, static_cast<float>(a.p),
                  scale, static_cast<std::uint64_t>(block * kLanes<T> * size),
                  static_cast<std::uint64_t>(size), begin, std::min(begin + kElements, size));
  });
}

template void dropout(const DropoutArgs<float>&);
template void dropout(const DropoutArgs<double>&);

}  // namespace evenkeel::cpu::lanes
