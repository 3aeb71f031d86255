// Images in the lanes of vector registers: what goes into them, what comes out, and sums over them.
//
// A unit is as many images as a Register<T> has lanes. In its memory, element i of image l is lane l of
// register i. A batch has ceil(N / lanes) units; the lanes of the last one that have no image hold numbers
// without meaning, which whoever sums over images leaves out.
#pragma once

#include <algorithm>
#include <utility>

#include "evenkeel/kernels/cpu/scratch.h"
#include "evenkeel/kernels/cpu/simd.h"

namespace evenkeel::cpu::EK_ISA {

/// Units that N images take.
template <typename T>
std::int64_t units_of(std::int64_t N) {
  return (N + kRegisterLanes<T> - 1) / kRegisterLanes<T>;
}

/// The images of a unit: fewer than there are lanes in the last.
template <typename T>
std::int64_t images_of_unit(std::int64_t N, std::int64_t unit) {
  return std::min<std::int64_t>(kRegisterLanes<T>, N - unit * kRegisterLanes<T>);
}

/// Half a block of 64 bytes, or a register where that is smaller: what is transposed as one.
template <typename T>
using Row = std::conditional_t<(kRegisterBytes > 32), typename VecOf<T>::half, Register<T>>;
template <typename T>
inline constexpr int kRowLanes = static_cast<int>(sizeof(Row<T>) / sizeof(T));

/// Swaps the squares of W x W off the diagonal, in each square of 2W x 2W: J are the numbers of a Row.
template <int W, typename V, int... J>
EK_INLINE void swap_squares(V* row, std::integer_sequence<int, J...>) {
  constexpr int n = sizeof...(J);
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) {
    if (i & W) continue;
    const V a = row[i], b = row[i + W];
    row[i] = __builtin_shufflevector(a, b, (J & W ? n + J - W : J)...);
    row[i + W] = __builtin_shufflevector(a, b, (J & W ? n + J : J + W)...);
  }
}

/// Transposes a square of Rows in place: log2(n) rounds.
template <typename T>
EK_INLINE void transpose_rows(Row<T>* row) {
  constexpr int n = kRowLanes<T>;
  constexpr auto numbers = std::make_integer_sequence<int, n>();
  swap_squares<1>(row, numbers);
  if constexpr (n > 2) swap_squares<2>(row, numbers);
  if constexpr (n > 4) swap_squares<4>(row, numbers);
}

/// unit[i] holds element i of each of `count` images, which lie `stride` apart; the other lanes are 0.
template <typename T>
void load_unit(Register<T>* unit, const T* x, std::int64_t n, std::int64_t stride, std::int64_t count) {
  constexpr int L = kRegisterLanes<T>, R = kRowLanes<T>;
  T* out = reinterpret_cast<T*>(unit);
  if (count < L) std::memset(unit, 0, static_cast<std::size_t>(n) * sizeof(Register<T>));
  for (int first = 0; first < L; first += R) {
    std::int64_t i = 0;
    for (; first + R <= count && i + R <= n; i += R) {
      Row<T> tile[R];
      for (int k = 0; k < R; ++k) std::memcpy(&tile[k], x + (first + k) * stride + i, sizeof tile[k]);
      transpose_rows<T>(tile);
      for (int k = 0; k < R; ++k) std::memcpy(out + (i + k) * L + first, &tile[k], sizeof tile[k]);
    }
    for (; i < n; ++i) {
      for (int k = first; k < first + R && k < count; ++k) out[i * L + k] = x[k * stride + i];
    }
  }
}

/// The inverse of load_unit(), for the first `count` images.
template <typename T>
void store_unit(T* y, const Register<T>* unit, std::int64_t n, std::int64_t stride, std::int64_t count) {
  constexpr int L = kRegisterLanes<T>, R = kRowLanes<T>;
  const T* in = reinterpret_cast<const T*>(unit);
  for (int first = 0; first < L; first += R) {
    std::int64_t i = 0;
    for (; first + R <= count && i + R <= n; i += R) {
      Row<T> tile[R];
      for (int k = 0; k < R; ++k) std::memcpy(&tile[k], in + (i + k) * L + first, sizeof tile[k]);
      transpose_rows<T>(tile);
      for (int k = 0; k < R; ++k) std::memcpy(y + (first + k) * stride + i, &tile[k], sizeof tile[k]);
    }
    for (; i < n; ++i) {
      for (int k = first; k < first + R && k < count; ++k) y[k * stride + i] = in[i * L + k];
    }
  }
}

/// Of two registers the sums of neighbouring blocks of WIDTH numbers, those of a and of b in turn. What lies
/// in place is blended, the rest moves by one permutation, which is less than two shuffles of two registers.
template <typename T, int WIDTH, int... J>
EK_INLINE Register<T> sums_of_neighbours(const Register<T>& a, const Register<T>& b,
                                         std::integer_sequence<int, J...>) {
  constexpr int L = sizeof...(J);
  const Register<T> there = __builtin_shufflevector(a, b, (J & WIDTH ? L + J : J)...),
                    swapped = __builtin_shufflevector(a, b, (J & WIDTH ? J : L + J)...);
  return there + __builtin_shufflevector(swapped, swapped, (J ^ WIDTH)...);
}

/// The sums over the lanes of each of as many registers as there are lanes: images 0 + 1, 2 + 3, ..., then
/// pairs of these, and so on. So the sum over 16 images is that of two units of 8.
template <typename T, int WIDTH = 1>
EK_INLINE Register<T> lane_sums_of(Register<T>* v) {
  constexpr int L = kRegisterLanes<T>;
  if constexpr (WIDTH == L) {
    return v[0];
  } else {
    // v[i] now has sums of WIDTH registers, from WIDTH * i on, in turn.
#pragma GCC unroll 8
    for (int i = 0; i < L / WIDTH / 2; ++i)
      v[i] = sums_of_neighbours<T, WIDTH>(v[2 * i], v[2 * i + 1], std::make_integer_sequence<int, L>());
    return lane_sums_of<T, 2 * WIDTH>(v);
  }
}

/// r with 0 in all lanes but the first `count`.
template <typename T>
EK_INLINE Register<T> first_lanes(const Register<T>& r, std::int64_t count) {
  Register<T> y;
  for (int l = 0; l < kRegisterLanes<T>; ++l) y[l] = l < count ? r[l] : T(0);
  return y;
}

/// sum[i] = the sum over the first `count` lanes of v(i), i < n.
template <typename T, typename V>
EK_INLINE void sum_lanes(T* sum, std::int64_t n, std::int64_t count, V v) {
  constexpr int L = kRegisterLanes<T>;
  Register<T> of[L];
  std::int64_t first = 0;
  for (; first + L <= n && count == L; first += L) {
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) of[i] = v(first + i);
    const Register<T> sums = lane_sums_of<T>(of);
    std::memcpy(sum + first, &sums, sizeof sums);
  }
  for (; first < n; first += L) {
    const std::int64_t here = std::min<std::int64_t>(L, n - first);
    for (std::int64_t i = 0; i < L; ++i)
      of[i] = i < here ? first_lanes<T>(v(first + i), count) : Register<T>{};
    const Register<T> sums = lane_sums_of<T>(of);
    std::memcpy(sum + first, &sums, static_cast<std::size_t>(here) * sizeof(T));
  }
}

/// max(x, 0) where `relu`, else x. NaN stays.
template <typename T>
EK_INLINE Register<T> rectified(const Register<T>& x, bool relu) {
  return relu ? (x < 0 ? Register<T>{} : x) : x;
}

/// The gradient of x from that of rectified(x, relu).
template <typename T>
EK_INLINE Register<T> rectified_gradient(const Register<T>& dy, const Register<T>& x, bool relu) {
  return relu ? (x <= 0 ? Register<T>{} : dy) : dy;
}

}  // namespace evenkeel::cpu::EK_ISA
