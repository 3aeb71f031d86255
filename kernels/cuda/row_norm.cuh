// Forward of the normalizations whose sets are dense rows: layer norm, and group norm with a row per group.
// They differ in which gamma and beta an element of a row gets.
#pragma once

#include "kernels/cuda/norm.cuh"

namespace evenkeel::cuda {

/// gamma and beta [D], one a column. Null stands for 1 and 0.
template <typename T>
struct ColumnAffine {
  const T *gamma, *beta;

  template <int N>
  __device__ __forceinline__ Vector<T, N> gamma_at(std::int64_t, std::int64_t d) const {
    return values<N>(gamma, d, T(1));
  }
  template <int N>
  __device__ __forceinline__ Vector<T, N> beta_at(std::int64_t, std::int64_t d) const {
    return values<N>(beta, d, T(0));
  }

 private:
  template <int N>
  __device__ __forceinline__ static Vector<T, N> values(const T* p, std::int64_t d, T otherwise) {
    if (p != nullptr) return load<N>(p + d);
    Vector<T, N> v;
    EK_UNROLL
    for (int i = 0; i < N; ++i) v.at[i] = otherwise;
    return v;
  }
};

/// gamma and beta [C], one a channel; row n*G + g is `channels` planes of S elements, S a multiple of N.
template <typename T>
struct ChannelAffine {
  const T *gamma, *beta;
  std::int64_t groups, channels, S;

  template <int N, typename Index>
  __device__ __forceinline__ Vector<T, N> gamma_at(std::int64_t row, Index i) const {
    return value<N>(gamma, row, i, T(1));
  }
  template <int N, typename Index>
  __device__ __forceinline__ Vector<T, N> beta_at(std::int64_t row, Index i) const {
    return value<N>(beta, row, i, T(0));
  }

 private:
  template <int N, typename Index>
  __device__ __forceinline__ Vector<T, N> value(const T* p, std::int64_t row, Index i, T otherwise) const {
    const T one = p != nullptr ? p[row % groups * channels + i / static_cast<Index>(S)] : otherwise;
    Vector<T, N> v;
    EK_UNROLL
    for (int k = 0; k < N; ++k) v.at[k] = one;
    return v;
  }
};

/// y[m,d] = gamma (x[m,d] - mean[m]) rstd[m] + beta, for x [M, D].
template <typename T, typename Affine>
struct RowNorm {
  T *y, *mean, *rstd;
  const T* x;
  Affine affine;
  std::int64_t M, D;
  T eps;
};

/// This thread's part of a row: K vectors of N elements, `team.size()` vectors apart. Rows that are longer
/// than the team's registers (HELD false) are loaded anew, tile by tile, for every for_each().
template <typename T, int N, int K, bool HELD, typename Team>
class RowPart {
  using Index = std::conditional_t<HELD, int, std::int64_t>;

 public:
  __device__ __forceinline__ RowPart(const Team& team, const T* x, std::int64_t D)
      : x_(x), D_(static_cast<Index>(D)), first_(team.rank() * N), step_(team.size() * N) {
    if constexpr (HELD) load_tile(0);
  }

  /// f(i, vector of the elements from i on) for each vector.
  template <typename F>
  __device__ __forceinline__ void for_each(const F& f) {
    if constexpr (HELD) {
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

/// One row by one team. `there` is false for a team past the last row, which only takes part in the sums.
template <int N, int K, bool HELD, typename T, typename Affine, typename Team>
__device__ __forceinline__ void normalize_row(const RowNorm<T, Affine>& a, const Team& team, std::int64_t row,
                                              bool there) {
  const std::int64_t D = there ? a.D : 0;
  const T* const x = a.x + row * a.D;
  T* const y = a.y + row * a.D;
  RowPart<T, N, K, HELD, Team> part(team, x, D);
  const Count<T> count(a.D);
  const T pivot = D > 0 ? x[0] : T(0);
  const Moments<T> m = moments(team, count, pivot, [&](const auto& f) {
    part.for_each([&](auto, const Vector<T, N>& v) {
      EK_UNROLL
      for (int j = 0; j < N; ++j) f(v.at[j]);
    });
  });
  const T rstd = m.rstd(count, a.eps);
  if (there && team.rank() == 0) {
    a.mean[row] = m.mean.high;
    a.rstd[row] = rstd;
  }
  part.for_each([&](auto i, const Vector<T, N>& v) {
    const Vector<T, N> gamma = a.affine.template gamma_at<N>(row, i),
                       beta = a.affine.template beta_at<N>(row, i);
    Vector<T, N> out;
    EK_UNROLL
    for (int j = 0; j < N; ++j) out.at[j] = m.mean.centre(v.at[j]) * rstd * gamma.at[j] + beta.at[j];
    store<N>(y + i, out);
  });
}

inline constexpr int kWarpRowThreads = 128, kLongRowThreads = 512;

/// Short rows: `lanes` neighbouring lanes a row, which they hold. Bytes: 2 M D sizeof(T).
template <int N, int K, typename T, typename Affine>
__global__ void __launch_bounds__(kWarpRowThreads) row_norm_forward_warp(RowNorm<T, Affine> a, int lanes) {
  const std::int64_t row = thread_number() / lanes;
  normalize_row<N, K, true>(a, LaneTeam{lanes}, row, row < a.M);
}

/// A block a row, which it holds. Bytes: 2 M D sizeof(T).
template <int N, int K, typename T, typename Affine>
__global__ void __launch_bounds__(kMaxThreads) row_norm_forward_block(RowNorm<T, Affine> a) {
  normalize_row<N, K, true>(a, BlockTeam{}, blockIdx.x, true);
}

/// A block a row of any length, read three times. Bytes: 2 M D sizeof(T), and the second and third reading
/// from the L2 cache.
template <int N, int K, typename T, typename Affine>
__global__ void __launch_bounds__(kLongRowThreads) row_norm_forward_long(RowNorm<T, Affine> a) {
  normalize_row<N, K, false>(a, BlockTeam{}, blockIdx.x, true);
}

/// Chooses by the length of a row.
template <int N, typename T, typename Affine>
void row_norm_forward_in(const char* name, const RowNorm<T, Affine>& a, Stream stream) {
  constexpr int kFew = 32 / static_cast<int>(sizeof(T)), kMany = 2 * kFew;  // elements a thread
  if (a.D <= kWarp * kMany) {
    const int lanes = lanes_for((a.D + N - 1) / N);
    const auto kernel = a.D <= kWarp * kFew ? row_norm_forward_warp<N, kFew / N, T, Affine>
                                            : row_norm_forward_warp<N, kMany / N, T, Affine>;
    launch(name, kernel, {blocks_for(a.M, kWarpRowThreads / lanes), kWarpRowThreads, 0, stream}, a, lanes);
  } else if (a.D <= kMaxThreads * kMany) {
    launch(name, row_norm_forward_block<N, kMany / N, T, Affine>,
           {a.M, whole_warps((a.D + kMany - 1) / kMany), 0, stream}, a);
  } else {
    launch(name, row_norm_forward_long<N, kFew / N, T, Affine>, {a.M, kLongRowThreads, 0, stream}, a);
  }
}

/// `in_vectors`: every row, and gamma and beta within it, can be taken in aligned vectors of 16 bytes.
template <typename T, typename Affine>
void row_norm_forward(const char* name, const RowNorm<T, Affine>& a, bool in_vectors, Stream stream) {
  if (in_vectors)
    row_norm_forward_in<kVector<T>>(name, a, stream);
  else
    row_norm_forward_in<1>(name, a, stream);
}

}  // namespace evenkeel::cuda
