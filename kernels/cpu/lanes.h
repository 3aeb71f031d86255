// What kernels share that work on MemoryFormat::lanes: blocks of images, one in each lane of a vector.
#pragma once

#include <algorithm>
#include <utility>

#include "evenkeel/kernels/cpu/scratch.h"
#include "evenkeel/kernels/cpu/simd.h"

namespace evenkeel::cpu::EK_ISA {

/// Half a Vec, which AVX2 shuffles as well as AVX-512 does.
template <typename T>
using HalfVec = typename VecOf<T>::half;

/// Swaps the blocks of H x H off the diagonal, in each square of 2H x 2H: J are the numbers of a HalfVec.
template <int H, typename V, int... J>
EK_INLINE void swap_blocks(V* row, std::integer_sequence<int, J...>) {
  constexpr int n = sizeof...(J);
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) {
    if (i & H) continue;
    const V a = row[i], b = row[i + H];
    row[i] = __builtin_shufflevector(a, b, (J & H ? n + J - H : J)...);
    row[i + H] = __builtin_shufflevector(a, b, (J & H ? n + J : J + H)...);
  }
}

/// Transposes a square of HalfVecs in place: log2(n) rounds.
template <typename T>
EK_INLINE void transpose_square(HalfVec<T>* row) {
  constexpr auto numbers = std::make_integer_sequence<int, kLanes<T> / 2>();
  swap_blocks<1>(row, numbers);
  swap_blocks<2>(row, numbers);
  if constexpr (kLanes<T> / 2 > 4) swap_blocks<4>(row, numbers);
}

/// lanes[i] holds element i of each of `count` images, which lie `stride` apart; the other lanes are 0.
template <typename T>
void to_lanes(Vec<T>* lanes, const T* x, std::int64_t n, std::int64_t stride, std::int64_t count) {
  constexpr int half = kLanes<T> / 2;
  T* out = reinterpret_cast<T*>(lanes);
  if (count < kLanes<T>) std::memset(lanes, 0, static_cast<std::size_t>(n) * sizeof(Vec<T>));
  for (int first = 0; first < kLanes<T>; first += half) {  // lanes first .. first+half-1
    std::int64_t i = 0;
    for (; first + half <= count && i + half <= n; i += half) {
      HalfVec<T> tile[half];
      for (int k = 0; k < half; ++k) std::memcpy(&tile[k], x + (first + k) * stride + i, sizeof tile[k]);
      transpose_square<T>(tile);
      for (int k = 0; k < half; ++k) std::memcpy(out + (i + k) * kLanes<T> + first, &tile[k], sizeof tile[k]);
    }
    for (; i < n; ++i) {
      for (int k = first; k < first + half && k < count; ++k) out[i * kLanes<T> + k] = x[k * stride + i];
    }
  }
}

/// The inverse of to_lanes(), for the first `count` lanes.
template <typename T>
void from_lanes(T* y, const Vec<T>* lanes, std::int64_t n, std::int64_t stride, std::int64_t count) {
  constexpr int half = kLanes<T> / 2;
  const T* in = reinterpret_cast<const T*>(lanes);
  for (int first = 0; first < kLanes<T>; first += half) {
    std::int64_t i = 0;
    for (; first + half <= count && i + half <= n; i += half) {
      HalfVec<T> tile[half];
      for (int k = 0; k < half; ++k) std::memcpy(&tile[k], in + (i + k) * kLanes<T> + first, sizeof tile[k]);
      transpose_square<T>(tile);
      for (int k = 0; k < half; ++k) std::memcpy(y + (first + k) * stride + i, &tile[k], sizeof tile[k]);
    }
    for (; i < n; ++i) {
      for (int k = first; k < first + half && k < count; ++k) y[k * stride + i] = in[i * kLanes<T> + k];
    }
  }
}

/// The vectors of an array in MemoryFormat::lanes.
template <typename T>
EK_INLINE Vec<T>* as_lanes(T* x) {
  return reinterpret_cast<Vec<T>*>(x);
}
template <typename T>
EK_INLINE const Vec<T>* as_lanes(const T* x) {
  return reinterpret_cast<const Vec<T>*>(x);
}

/// The images of a block of N: kLanes<T>, fewer in the last.
template <typename T>
std::int64_t images_of_block(std::int64_t N, std::int64_t block) {
  return std::min<std::int64_t>(kLanes<T>, N - block * kLanes<T>);
}

/// The sums of the first `count` lanes of each of N vectors: of 16, lane k + lane k+8, then k + k+4 of these,
/// and so on. Transposed, so that the sums of several vectors are in one.
template <int N, typename T>
EK_INLINE void sums_of_lanes(T (&sum)[N], const Vec<T>* v, std::int64_t count) {
  constexpr int n = kLanes<T> / 2;
  T lane[N][kLanes<T>];
  std::memcpy(lane, v, sizeof lane);
  if (count < kLanes<T>) {
    for (int i = 0; i < N; ++i) std::fill(lane[i] + count, lane[i] + kLanes<T>, T(0));
  }
  for (int first = 0; first < N; first += n) {
    HalfVec<T> row[n] = {};
    for (int i = 0; i < n && first + i < N; ++i) {
      HalfVec<T> high;
      std::memcpy(&row[i], lane[first + i], sizeof high);
      std::memcpy(&high, lane[first + i] + n, sizeof high);
      row[i] += high;
    }
    transpose_square<T>(row);
#pragma GCC unroll 4
    for (int width = n / 2; width > 0; width /= 2) {
      for (int k = 0; k < width; ++k) row[k] += row[k + width];
    }
    std::memcpy(sum + first, row, static_cast<std::size_t>(std::min(n, N - first)) * sizeof(T));
  }
}

/// The sum of the first `count` lanes of one vector, in the same order.
template <typename T>
EK_INLINE T sum_of_lanes(const Vec<T>& v, std::int64_t count) {
  T sum[1];
  sums_of_lanes<1, T>(sum, &v, count);
  return sum[0];
}

}  // namespace evenkeel::cpu::EK_ISA
