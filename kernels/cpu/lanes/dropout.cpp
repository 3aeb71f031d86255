#include "evenkeel/kernels/dropout.h"

#include <algorithm>
#include <cmath>

#include "evenkeel/kernels/cpu/lanes.h"
#include "evenkeel/kernels/cpu/lanes/ops.h"
#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/kernels/cpu/philox_many.h"

namespace evenkeel::cpu::EK_ISA::lanes {
namespace {

constexpr std::int64_t kElements = 64;  // of a task, in all images of a block; a multiple of 4

/// mask[i] for n <= kElements elements of a block of images of `size` elements; the first of them has number
/// `first`. Where `first` and size are multiples of 4, the four numbers of a Philox block belong to four
/// neighbours in one image. Bits first, then the mask, so that both loops vectorise.
template <typename T>
void draw_mask(std::uint8_t* mask, RandomKey key, float p, std::uint64_t first, std::uint64_t size,
               std::int64_t n) {
  constexpr std::int64_t L = kLanes<T>;
  std::uint32_t bits[4][kElements / 4 * L];  // [element % 4][element / 4][lane]
  std::uint64_t number[kElements / 4 * L];
  for (std::int64_t i = 0; i < n; i += 4) {
    for (std::int64_t l = 0; l < L; ++l)
      number[i / 4 * L + l] = first + static_cast<std::uint64_t>(l) * size + static_cast<std::uint64_t>(i);
  }
  const std::int64_t blocks = (n + 3) / 4 * L;
  if ((first | size) % 4 == 0) {
    for (std::int64_t b = 0; b < blocks; ++b) number[b] /= 4;
    philox_many(bits, key, number, blocks);
  } else {
    for (std::int64_t b = 0; b < blocks; ++b) {
      for (std::uint64_t k = 0; k < 4; ++k)
        bits[k][b] = philox(key, (number[b] + k) / 4)[(number[b] + k) % 4];
    }
  }
  // unit_interval(bits) >= p, in whole numbers.
  const auto least = static_cast<std::uint32_t>(std::ceil(p * 0x1p24f));
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t* of_element = &bits[i % 4][i / 4 * L];
#pragma GCC unroll 1  // else it is not vector code
    for (std::int64_t l = 0; l < L; ++l) mask[i * L + l] = of_element[l] >> 8 >= least ? 255 : 0;
  }
}

/// y = scale * x where the mask is 255, else 0; n vectors.
template <typename T>
void apply_mask(T* y, const T* x, const std::uint8_t* mask, T scale, std::int64_t n) {
  for (int part = 0; part < kParts; ++part) {
    const auto from = column(x, part);
    const auto to = column(y, part);
    for (std::int64_t i = 0; i < n; ++i) {
      const std::uint8_t* kept = mask + i * kLanes<T> + part * kRegisterLanes<T>;
      Integers<T> wide;
      for (int l = 0; l < kRegisterLanes<T>; ++l) wide[l] = kept[l];
      to[i] = wide != 0 ? from[i] * scale : Register<T>{};
    }
  }
}

}  // namespace

template <typename T>
void dropout(const DropoutArgs<T>& a) {
  const std::int64_t size = a.n / a.N, tasks = (size + kElements - 1) / kElements;
  const T scale = static_cast<T>(1 / (1 - a.p));
  parallel_for(lane_blocks<T>(a.N) * tasks, 4 * kElements * kLanes<T>, [&](std::int64_t i) {
    const std::int64_t block = i / tasks, begin = i % tasks * kElements,
                       n = std::min(kElements, size - begin);
    const std::int64_t at = (block * size + begin) * kLanes<T>;
    std::uint8_t drawn[kElements * kLanes<T>];
    const std::uint8_t* mask = a.kept != nullptr ? a.kept + at : drawn;
    if (a.kept == nullptr) {
      std::uint8_t* to = a.mask != nullptr ? a.mask + at : drawn;
      draw_mask<T>(to, a.key, static_cast<float>(a.p),
                   static_cast<std::uint64_t>(block * kLanes<T> * size + begin),
                   static_cast<std::uint64_t>(size), n);
      mask = to;
    }
    apply_mask(a.y + at, a.x + at, mask, scale, n);
  });
}

template void dropout(const DropoutArgs<float>&);
template void dropout(const DropoutArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA::lanes
