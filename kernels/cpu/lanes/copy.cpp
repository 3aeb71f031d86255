// Between the memory formats.
#include "evenkeel/kernels/cpu/lanes.h"
#include "evenkeel/kernels/cpu/parallel.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

/// Calls f(block, first element, elements, images of the block) for pieces of every block of images.
template <typename T, typename F>
void for_each_piece(std::int64_t N, std::int64_t size, F f) {
  constexpr std::int64_t kPiece = 256;  // a multiple of the square that to_lanes transposes
  const std::int64_t pieces = (size + kPiece - 1) / kPiece;
  parallel_for(lane_blocks<T>(N) * pieces, kPiece * kLanes<T>, [&](std::int64_t i) {
    const std::int64_t block = i / pieces, begin = i % pieces * kPiece;
    f(block, begin, std::min(kPiece, size - begin), images_of_block<T>(N, block));
  });
}

}  // namespace

template <typename T>
void strided_to_lanes(const LanesCopyArgs<T>& a) {
  for_each_piece<T>(a.N, a.size,
                    [&](std::int64_t block, std::int64_t begin, std::int64_t n, std::int64_t count) {
                      to_lanes(as_lanes(a.y) + block * a.size + begin,
                               a.x + block * kLanes<T> * a.size + begin, n, a.size, count);
                    });
}

template <typename T>
void lanes_to_strided(const LanesCopyArgs<T>& a) {
  for_each_piece<T>(a.N, a.size,
                    [&](std::int64_t block, std::int64_t begin, std::int64_t n, std::int64_t count) {
                      from_lanes(a.y + block * kLanes<T> * a.size + begin,
                                 as_lanes(a.x) + block * a.size + begin, n, a.size, count);
                    });
}

template void strided_to_lanes(const LanesCopyArgs<float>&);
template void strided_to_lanes(const LanesCopyArgs<double>&);
template void lanes_to_strided(const LanesCopyArgs<float>&);
template void lanes_to_strided(const LanesCopyArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
