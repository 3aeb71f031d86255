// Where forward of a fused run keeps what backward needs.
//
// First, for each batch norm, the statistics of the batch; then a piece of the same size for each unit, with
// what is kept of each block: z, unless it is the run's x or y, the statistics of its norm, taps and mask.
// All instruction sets need the same number of bytes, as a unit's piece is its lanes times the bytes of an
// image.
#pragma once

#include <vector>

#include "evenkeel/kernels/cpu/fused/epilogue.h"

namespace evenkeel::cpu::EK_ISA {

template <typename T>
class RunLayout {
 public:
  RunLayout(const RunBlock<T>* blocks, std::int64_t count, std::int64_t N, bool x_in_units) : N_(N) {
    for (std::int64_t i = 0; i < count; ++i) {
      const Epilogue<T>& e = blocks[i].after;
      const std::int64_t output = blocks[i].elements_of_output();
      At at;
      at.merged = of_batch_;
      if (e.norm == NormPartition::batch) of_batch_ += whole(3 * e.C * kSize, 64);
      const auto take = [&](std::int64_t bytes) { return std::exchange(of_image_, of_image_ + bytes); };
      const bool is_y = i == count - 1 && blocks[i].is_bare(),
                 is_x = i == 0 && x_in_units && blocks[i].z_is_x();
      at.z = take(is_y || is_x ? 0 : (blocks[i].keeps_pooled() ? output : blocks[i].elements_of_z()) * kSize);
      at.statistics = take(e.norm == NormPartition::batch && !e.training ? 0 : 3 * e.sets * kSize);
      at.taps = take(e.pool == FusedPool::max ? whole(output, 16) : 0);
      at.mask = take(e.p > 0 ? whole(output, 16) : 0);
      at_.push_back(at);
    }
    of_image_ = whole(of_image_, 64);
  }

  std::int64_t bytes_of_batch() const { return of_batch_; }
  std::int64_t bytes_of_unit() const { return kRegisterLanes<T> * of_image_; }
  std::int64_t bytes() const { return of_batch_ + whole(N_, kLanes<T>) * of_image_; }

  /// The statistics of batch norm in block i, [C][3].
  T* merged(std::int64_t i, std::byte* saved) const {
    return reinterpret_cast<T*>(saved + at_[static_cast<std::size_t>(i)].merged);
  }
  std::byte* piece(std::byte* saved, std::int64_t unit) const {
    return saved + of_batch_ + unit * bytes_of_unit();
  }
  KeptUnit<T> kept(std::int64_t i, std::byte* saved, std::byte* piece) const {
    const At& at = at_[static_cast<std::size_t>(i)];
    constexpr std::int64_t L = kRegisterLanes<T>;
    return {reinterpret_cast<Register<T>*>(piece + L * at.z),
            reinterpret_cast<Register<T>*>(piece + L * at.statistics),
            reinterpret_cast<std::uint8_t*>(piece + L * at.taps),
            reinterpret_cast<std::uint8_t*>(piece + L * at.mask), merged(i, saved)};
  }

 private:
  static constexpr std::int64_t kSize = sizeof(T);
  /// n, rounded up to a multiple.
  static std::int64_t whole(std::int64_t n, std::int64_t of) { return (n + of - 1) / of * of; }

  struct At {
    std::int64_t merged, z, statistics, taps, mask;  // the last four in bytes of an image
  };
  std::int64_t N_, of_batch_ = 64, of_image_ = 0;
  std::vector<At> at_;
};

}  // namespace evenkeel::cpu::EK_ISA
