// Forward of the normalizations whose sets are dense rows: layer norm, and group norm with a row per group.
// They differ in which gamma and beta an element of a row gets. Elements are stored as T and computed in A.
#pragma once

#include <algorithm>

#include "evenkeel/kernels/cuda/set_norm.cuh"
#include "evenkeel/kernels/variants.h"

namespace evenkeel::cuda {

/// gamma and beta [D], one a column. Null stands for 1 and 0.
template <typename A>
struct ColumnAffine {
  static constexpr bool kAlwaysCentred = false;
  const A *gamma, *beta;

  template <int N>
  __device__ __forceinline__ Vector<A, N> gamma_at(std::int64_t, std::int64_t d) const {
    return values<N>(gamma, d, A(1));
  }
  template <int N>
  __device__ __forceinline__ Vector<A, N> beta_at(std::int64_t, std::int64_t d) const {
    return values<N>(beta, d, A(0));
  }

 private:
  template <int N>
  __device__ __forceinline__ static Vector<A, N> values(const A* p, std::int64_t d, A otherwise) {
    if (p != nullptr) return load<N>(p + d);
    Vector<A, N> v;
    EK_UNROLL
    for (int i = 0; i < N; ++i) v.at[i] = otherwise;
    return v;
  }
};

/// gamma and beta [C], one a channel; row n*G + g is `channels` planes of S elements, S a multiple of N.
template <typename A>
struct ChannelAffine {
  static constexpr bool kAlwaysCentred = true;
  const A *gamma, *beta;
  std::int64_t groups, channels, S;

  template <int N, typename Index>
  __device__ __forceinline__ Vector<A, N> gamma_at(std::int64_t row, Index i) const {
    return value<N>(gamma, row, i, A(1));
  }
  template <int N, typename Index>
  __device__ __forceinline__ Vector<A, N> beta_at(std::int64_t row, Index i) const {
    return value<N>(beta, row, i, A(0));
  }

 private:
  template <int N, typename Index>
  __device__ __forceinline__ Vector<A, N> value(const A* p, std::int64_t row, Index i, A otherwise) const {
    const A one = p != nullptr ? p[row % groups * channels + i / static_cast<Index>(S)] : otherwise;
    Vector<A, N> v;
    EK_UNROLL
    for (int k = 0; k < N; ++k) v.at[k] = one;
    return v;
  }
};

/// y[m,d] = gamma (x[m,d] - mean[m]) rstd[m] + beta, for x [M, D].
template <typename T, typename Affine>
struct RowNorm {
  T* y;
  Arithmetic<T>*mean, *rstd;
  const T* x;
  Affine affine;
  std::int64_t M, D;
  Arithmetic<T> eps;
  bool centred = true;
};

/// This thread's part of a row: K vectors of N elements, `threads.size()` vectors apart. Rows that do not fit
/// into the registers of the thread group (IN_REGISTERS false) are loaded anew, tile by tile, for every
/// for_each().
template <typename T, int N, int K, bool IN_REGISTERS, typename Group>
class RowPart {
  using Index = std::conditional_t<IN_REGISTERS, int, std::int64_t>;

 public:
  __device__ __forceinline__ RowPart(const Group& threads, const T* x, std::int64_t D)
      : x_(x), D_(static_cast<Index>(D)), first_(threads.rank() * N), step_(threads.size() * N) {
    if constexpr (IN_REGISTERS) load_tile(0);
  }

  /// f(i, vector of the elements from i on) for each vector.
  template <typename F>
  __device__ __forceinline__ void for_each(const F& f) {
    if constexpr (IN_REGISTERS) {
      visit_tile(0, f);
    } else {
      for (Index begin = 0; begin < D_; begin += static_cast<Index>(step_) * K) {
        load_tile(begin);
        visit_tile(begin, f);
      }
    }
  }

 private:
  __device__ __forceinline__ void load_tile(Index begin) {
    EK_UNROLL
    for (int k = 0; k < K; ++k) {
      const Index i = begin + first_ + k * step_;
      if (i < D_) part_[k] = load<N>(x_ + i);
    }
  }
  template <typename F>
  __device__ __forceinline__ void visit_tile(Index begin, const F& f) {
    EK_UNROLL
    for (int k = 0; k < K; ++k) {
      const Index i = begin + first_ + k * step_;
      if (i < D_) f(i, part_[k]);
    }
  }

  const T* x_;
  Index D_;
  int first_, step_;
  Vector<T, N> part_[K] = {};
};

/// One row by one thread group. `there` is false for a group past the last row, which only takes part in the
/// sums.
template <int N, int K, bool IN_REGISTERS, typename T, typename Affine, typename Group>
__device__ __forceinline__ void normalize_row(const RowNorm<T, Affine>& a, const Group& threads,
                                              std::int64_t row, bool there) {
  using A = Arithmetic<T>;
  const std::int64_t D = there ? a.D : 0;
  const T* const x = a.x + row * a.D;
  T* const y = a.y + row * a.D;
  RowPart<T, N, K, IN_REGISTERS, Group> part(threads, x, D);
  const Count<A> count(a.D);
  const A pivot = D > 0 ? static_cast<A>(x[0]) : A(0);
  const Moments<A> m = moments(
      threads, count, pivot,
      [&](const auto& f) {
        part.for_each([&](auto, const Vector<T, N>& v) {
          EK_UNROLL
          for (int j = 0; j < N; ++j) f(v.at[j]);
        });
      },
      Affine::kAlwaysCentred || a.centred);
  const SetStatistics<A> set = m.statistics(count, a.eps);
  if (there && threads.rank() == 0) {
    a.mean[row] = set.mean.high;
    a.rstd[row] = set.rstd;
  }
  part.for_each([&](auto i, const Vector<T, N>& v) {
    const Vector<A, N> gamma = a.affine.template gamma_at<N>(row, i),
                       beta = a.affine.template beta_at<N>(row, i);
    Vector<T, N> out;
    EK_UNROLL
    for (int j = 0; j < N; ++j)
      out.at[j] = static_cast<T>(scaled_and_shifted<A>(set.xhat(v.at[j]), gamma.at[j], beta.at[j]));
    store<N>(y + i, out);
  });
}

inline constexpr int kWarpRowThreads = 128, kLongRowThreads = 512;

/// Short rows: `lanes` neighbouring lanes have a row in registers. Bytes: 2 M D sizeof(T).
template <int N, int K, typename T, typename Affine>
__global__ void __launch_bounds__(kWarpRowThreads) row_norm_forward_warp(RowNorm<T, Affine> a, int lanes) {
  const LaneGroup threads{lanes};
  const std::int64_t row = threads.number();
  normalize_row<N, K, true>(a, threads, row, row < a.M);
}

/// A block has a row in registers. Bytes: 2 M D sizeof(T).
template <int N, int K, typename T, typename Affine>
__global__ void __launch_bounds__(kMaxThreads) row_norm_forward_block(RowNorm<T, Affine> a) {
  normalize_row<N, K, true>(a, BlockGroup{}, blockIdx.x, true);
}

/// A block a row of any length, read three times. Bytes: 2 M D sizeof(T), and the second and third reading
/// from the L2 cache.
template <int N, int K, typename T, typename Affine>
__global__ void __launch_bounds__(kLongRowThreads) row_norm_forward_long(RowNorm<T, Affine> a) {
  normalize_row<N, K, false>(a, BlockGroup{}, blockIdx.x, true);
}

// --- the ladder --------------------------------------------------------------------------------------------

/// The elements of a row that a thread has in registers: at most kFewInRegisters if that is enough for a
/// warp, else at most kManyInRegisters.
template <typename T>
inline constexpr int kFewInRegisters = 32 / static_cast<int>(sizeof(Arithmetic<T>));
template <typename T>
inline constexpr int kManyInRegisters = 2 * kFewInRegisters<T>;

template <int N, typename T, typename Affine>
void row_norm_in_warps(const char* name, const RowNorm<T, Affine>& a, Stream stream) {
  const int lanes = lanes_for(blocks_for(a.D, N));
  const auto kernel = a.D <= kWarp * kFewInRegisters<T>
                          ? row_norm_forward_warp<N, kFewInRegisters<T> / N, T, Affine>
                          : row_norm_forward_warp<N, kManyInRegisters<T> / N, T, Affine>;
  launch(name, kernel, {blocks_for(a.M, kWarpRowThreads / lanes), kWarpRowThreads, 0, stream}, a, lanes);
}
template <int N, typename T, typename Affine>
void row_norm_in_blocks(const char* name, const RowNorm<T, Affine>& a, Stream stream) {
  const int threads = std::max(kWarp, whole_warps(blocks_for(a.D, kManyInRegisters<T>)));
  launch(name, row_norm_forward_block<N, kManyInRegisters<T> / N, T, Affine>, {a.M, threads, 0, stream}, a);
}
template <int N, typename T, typename Affine>
void row_norm_long(const char* name, const RowNorm<T, Affine>& a, Stream stream) {
  launch(name, row_norm_forward_long<N, kFewInRegisters<T> / N, T, Affine>, {a.M, kLongRowThreads, 0, stream},
         a);
}

/// Op<T>: ForwardArgs, kForward (its name), Sets (of norm_sets.cuh), rows(args) as a RowNorm, and
/// in_vectors(args): every row, and gamma and beta within it, can be taken in aligned vectors of 16 bytes.
template <template <typename> typename Op, typename T, typename Args = typename Op<T>::ForwardArgs>
Ladder<Args> row_norm_forward_ladder() {
  using O = Op<T>;
  static constexpr int V = kVector<T>;
  static constexpr std::int64_t in_warp = kWarp * kManyInRegisters<T>,
                                in_block = kMaxThreads * kManyInRegisters<T>;
  static constexpr Variant<Args> kLadder[] = {
      {"plain", "a thread a row, read three times", [](const Args&) { return true; },
       [](const Args& a, Stream s) { run_set_norm_forward<ThreadGroup>(O::kForward, a, O::Sets::of(a), s); }},
      {"long", "a block a row, read three times: neighbouring threads read neighbours",
       [](const Args&) { return true; },
       [](const Args& a, Stream s) { row_norm_long<1>(O::kForward, O::rows(a), s); }},
      {"block", "a block a row, held in registers: read once",
       [](const Args& a) { return O::rows(a).D <= in_block; },
       [](const Args& a, Stream s) { row_norm_in_blocks<1>(O::kForward, O::rows(a), s); }},
      {"warp", "lanes of a warp a row: no barriers", [](const Args& a) { return O::rows(a).D <= in_warp; },
       [](const Args& a, Stream s) { row_norm_in_warps<1>(O::kForward, O::rows(a), s); }},
      {"long_vec", "long, 16 bytes an access", [](const Args& a) { return O::in_vectors(a); },
       [](const Args& a, Stream s) { row_norm_long<V>(O::kForward, O::rows(a), s); }},
      {"block_vec", "block, 16 bytes an access",
       [](const Args& a) { return O::in_vectors(a) && O::rows(a).D <= in_block; },
       [](const Args& a, Stream s) { row_norm_in_blocks<V>(O::kForward, O::rows(a), s); }},
      {"warp_vec", "warp, 16 bytes an access",
       [](const Args& a) { return O::in_vectors(a) && O::rows(a).D <= in_warp; },
       [](const Args& a, Stream s) { row_norm_in_warps<V>(O::kForward, O::rows(a), s); }},
  };
  return kLadder;
}

}  // namespace evenkeel::cuda
