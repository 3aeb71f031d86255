// Vector code of the CPU backend, written once with vectors of 64 bytes, and compiled for each instruction
// set (kernels/isa.h).
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "evenkeel/kernels/common.h"

#if defined(__SSE2__)
#  include <immintrin.h>
#endif

#define EK_INLINE inline __attribute__((always_inline))
#define EK_INLINE_LAMBDA __attribute__((always_inline))

/// Keeps a vector that was loaded in a register: GCC would load it again for each use as an operand.
#if defined(__AVX512F__)
#  define EK_KEEP_IN_REGISTER(v) asm("" : "+v"(v))
#elif defined(__SSE2__)
#  define EK_KEEP_IN_REGISTER(v) asm("" : "+x"(v))
#elif defined(__aarch64__)
#  define EK_KEEP_IN_REGISTER(v) asm("" : "+w"(v))
#else
#  define EK_KEEP_IN_REGISTER(v)
#endif

namespace evenkeel::cpu {
/// The numbers in 64 bytes: one register of AVX-512, two of AVX2, four of SSE or NEON.
template <typename T>
inline constexpr int kLanes = static_cast<int>(64 / sizeof(T));
}  // namespace evenkeel::cpu

namespace evenkeel::cpu::EK_ISA {

/// Bytes of a vector register, and whether there are 32 of them, so that a kernel can hold many, or 16.
#if defined(__AVX512F__)
inline constexpr int kRegisterBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kRegisterBytes = 32;
#else
inline constexpr int kRegisterBytes = 16;
#endif
inline constexpr bool kManyRegisters = kRegisterBytes == 64;

template <typename T>
struct VecOf;
template <>
struct VecOf<float> {
  typedef float whole __attribute__((vector_size(64), may_alias));
  typedef float in_register __attribute__((vector_size(kRegisterBytes), may_alias));
  typedef std::int32_t index __attribute__((vector_size(kRegisterBytes), may_alias));
  typedef std::int8_t bytes __attribute__((vector_size(kRegisterBytes / 4)));
  typedef float half __attribute__((vector_size(32), may_alias));
  typedef std::int32_t half_index __attribute__((vector_size(32)));
};
template <>
struct VecOf<double> {
  typedef double whole __attribute__((vector_size(64), may_alias));
  typedef double in_register __attribute__((vector_size(kRegisterBytes), may_alias));
  typedef std::int64_t index __attribute__((vector_size(kRegisterBytes), may_alias));
  typedef std::int8_t bytes __attribute__((vector_size(kRegisterBytes / 8)));
  typedef double half __attribute__((vector_size(32), may_alias));
  typedef std::int64_t half_index __attribute__((vector_size(32)));
};

/// kLanes<T> numbers of T.
template <typename T>
using Vec = typename VecOf<T>::whole;

/// What fits into one register. Kernels compute with these: a running value of type Vec, where that is wider
/// than a register, goes to memory and back at every step.
template <typename T>
using Register = typename VecOf<std::remove_const_t<T>>::in_register;
template <typename T>
inline constexpr int kRegisterLanes = kRegisterBytes / static_cast<int>(sizeof(T));

/// x in all lanes. The zero is subtracted, as adding it would turn -0 into 0, which takes an instruction.
template <typename T>
EK_INLINE Register<T> broadcast(T x) {
  return x - Register<T>{};
}

/// A vector of as many integers, each as wide as T.
template <typename T>
using Integers = typename VecOf<T>::index;

/// A vector of as many signed bytes.
template <typename T>
using Bytes = typename VecOf<T>::bytes;

/// Integers from signed bytes at `bytes`, one a lane. GCC 12 makes scalar code of __builtin_convertvector,
/// and warns of its own headers where the forms without a mask are used.
template <typename T>
EK_INLINE Integers<T> load_bytes(const std::uint8_t* bytes) {
  Bytes<T> b;
  std::memcpy(&b, bytes, sizeof b);
#if defined(__AVX2__)
  __m128i low = {};
  std::memcpy(&low, &b, sizeof b);
#  if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return reinterpret_cast<Integers<T>>(_mm512_maskz_cvtepi8_epi32(0xffff, low));
  if constexpr (sizeof(T) == 8) return reinterpret_cast<Integers<T>>(_mm512_maskz_cvtepi8_epi64(0xff, low));
#  else
  if constexpr (sizeof(T) == 4) return reinterpret_cast<Integers<T>>(_mm256_cvtepi8_epi32(low));
  if constexpr (sizeof(T) == 8) return reinterpret_cast<Integers<T>>(_mm256_cvtepi8_epi64(low));
#  endif
#else
  return __builtin_convertvector(b, Integers<T>);
#endif
}

/// The lowest byte of each lane.
template <typename T>
EK_INLINE void store_bytes(std::uint8_t* bytes, const Integers<T>& x) {
#if defined(__AVX512F__)
  const auto wide = reinterpret_cast<__m512i>(x);
  if constexpr (sizeof(T) == 4)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes), _mm512_maskz_cvtepi32_epi8(0xffff, wide));
  if constexpr (sizeof(T) == 8)
    _mm_storel_epi64(reinterpret_cast<__m128i*>(bytes), _mm512_maskz_cvtepi64_epi8(0xff, wide));
  return;
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) {
    const auto wide = reinterpret_cast<__m256i>(x);
    const __m256i mine = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,  //
                                          0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i four = _mm256_shuffle_epi8(wide, mine);
    const std::int32_t low = _mm256_extract_epi32(four, 0), high = _mm256_extract_epi32(four, 4);
    std::memcpy(bytes, &low, 4);
    std::memcpy(bytes + 4, &high, 4);
    return;
  }
#endif
  const auto narrow = __builtin_convertvector(x, Bytes<T>);
  std::memcpy(bytes, &narrow, sizeof narrow);
}

/// Stores a register at a multiple of its size, past the caches where the architecture can.
template <typename T>
EK_INLINE void stream(T* y, const Register<T>& r) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(y), reinterpret_cast<const __m512i&>(r));
#elif defined(__AVX2__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(y), reinterpret_cast<const __m256i&>(r));
#elif defined(__SSE2__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(y), reinterpret_cast<const __m128i&>(r));
#else
  std::memcpy(y, &r, sizeof r);
#endif
}

/// True for arrays that no cache holds until they are read again: reading them before they are overwritten is
/// a third of the traffic of a copy, which stream() saves.
template <typename T>
constexpr bool is_streamed(std::int64_t n) {
  return n * static_cast<std::int64_t>(sizeof(T)) > (32 << 20);
}

/// y[i] = f(i) for i < n, by stream() if `streamed`.
template <typename T, typename F>
EK_INLINE void write_all(T* y, std::int64_t n, bool streamed, F f) {
  if (!streamed) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = f(i);
    return;
  }
  std::int64_t i = 0;
  for (; i < n && reinterpret_cast<std::uintptr_t>(y + i) % kRegisterBytes != 0; ++i) y[i] = f(i);
  for (; i + kRegisterLanes<T> <= n; i += kRegisterLanes<T>) {
    T value[kRegisterLanes<T>];
#pragma GCC unroll 1  // else it is not vector code
    for (int l = 0; l < kRegisterLanes<T>; ++l) value[l] = f(i + l);
    Register<T> r;
    std::memcpy(&r, value, sizeof r);
    stream(y + i, r);
  }
  for (; i < n; ++i) y[i] = f(i);
#if defined(__SSE2__)
  _mm_sfence();  // other threads see the stores after what this one does next
#endif
}

/// The sum of 16 numbers: of k and k + 8, then of k and k + 4 of these, and so on.
EK_INLINE double pairwise_sum(const double (&x)[16]) {
  typename VecOf<double>::half v[4];
  std::memcpy(v, x, sizeof v);
  v[0] = (v[0] + v[2]) + (v[1] + v[3]);
  return (v[0][0] + v[0][2]) + (v[0][1] + v[0][3]);
}

/// The sums of each f(0) .. f(n-1) in f64, in an order that depends on n alone: 16 running sums, added
/// pairwise at the end. All are taken in one pass, so that what they read comes from memory once.
template <typename... F>
EK_INLINE std::array<double, sizeof...(F)> lane_sums(std::int64_t n, F... f) {
  double sums[sizeof...(F)][16] = {};
  std::int64_t i = 0;
  const auto add = [&]<int count>(int first) EK_INLINE_LAMBDA {
    const auto add_one = [&](double* sum, auto& of) EK_INLINE_LAMBDA {
#pragma GCC unroll 1  // else it is not vector code
      for (int k = 0; k < count; ++k) sum[first + k] += of(i + k);
    };
    int which = 0;
    (add_one(sums[which++], f), ...);
    i += count;
  };
  while (i + 16 <= n) add.template operator()<16>(0);
  int first = 0;
  if (i + 8 <= n) add.template operator()<8>(0), first = 8;
  if (i + 4 <= n) add.template operator()<4>(first), first += 4;
  while (i < n) add.template operator()<1>(first++);
  std::array<double, sizeof...(F)> totals;
  for (std::size_t j = 0; j < sizeof...(F); ++j) totals[j] = pairwise_sum(sums[j]);
  return totals;
}

/// The sum where lane_sums() has only one.
template <typename F>
EK_INLINE double lane_sum(std::int64_t n, F f) {
  return lane_sums(n, f)[0];
}

}  // namespace evenkeel::cpu::EK_ISA
