#include "kernels/layer_norm.h"

#include <algorithm>

#include "kernels/cuda/row_norm.cuh"

namespace evenkeel::cuda {
namespace {

/// Backward shares rows out in chunks of `rows` neighbours, one chunk a team. Each adds up dgamma and dbeta
/// of its rows in registers and leaves them as one row of `partials`, whose sums are null if unwanted.
template <typename T>
struct RowChunks {
  std::int64_t rows, count;
  ParameterPartials<T> partials;
};

/// Chunks of at least 4 rows where that makes 256 of them or more, and no more than keep 2^17 threads busy.
template <typename T>
RowChunks<T> row_chunks(std::int64_t M, std::int64_t D, std::int64_t threads_per_row) {
  constexpr std::int64_t kFewestRows = 4, kFewestChunks = 256, kThreads = 1 << 17;
  const std::int64_t rows = std::max(
      {std::int64_t{1}, std::min(kFewestRows, M / kFewestChunks), blocks_for(M * threads_per_row, kThreads)});
  const std::int64_t count = blocks_for(M, rows);
  return {rows, count, {nullptr, count, D}};
}

/// The gradients of one chunk of rows [D] by one team, which holds dy, x, dgamma and dbeta in registers.
template <int N, int K, typename T, typename Team>
__device__ __forceinline__ void row_gradients(const LayerNormBackwardArgs<T>& a, const RowChunks<T>& chunks,
                                              const Team& team, std::int64_t chunk) {
  const ColumnAffine<T> affine{a.gamma, nullptr};
  const int D = static_cast<int>(a.D), first = team.rank() * N, step = team.size() * N;
  const Count<T> count(D);
  Vector<T, N> dgamma[K] = {}, dbeta[K] = {};
  for (std::int64_t r = 0; r < chunks.rows; ++r) {  // past the last row, only to take part in the sums
    const std::int64_t row = chunk * chunks.rows + r;
    const int columns = row < a.M ? D : 0;
    const T mean = row < a.M ? a.mean[row] : T(0), rstd = row < a.M ? a.rstd[row] : T(0);
    Vector<T, N> dy[K] = {}, x[K] = {};
    EK_UNROLL
    for (int k = 0; k < K; ++k) {
      const int d = first + k * step;
      if (d >= columns) continue;
      dy[k] = load<N>(a.dy + row * D + d);
      x[k] = load<N>(a.x + row * D + d);
    }
    GradientSums<T> sums;
    EK_UNROLL
    for (int k = 0; k < K; ++k) {
      const int d = first + k * step;
      if (d >= columns) continue;
      const Vector<T, N> gamma = affine.template gamma_at<N>(row, d);
      EK_UNROLL
      for (int j = 0; j < N; ++j) sums.add(gamma.at[j] * dy[k].at[j], x[k].at[j] - mean);
    }
    team.sum(sums.dy, sums.dy_x, sums.x);
    const auto gradient = InputGradient<T>::of(sums, count, mean, rstd);
    EK_UNROLL
    for (int k = 0; k < K; ++k) {
      const int d = first + k * step;
      if (d >= columns) continue;
      const Vector<T, N> gamma = affine.template gamma_at<N>(row, d);
      Vector<T, N> dx;
      EK_UNROLL
      for (int j = 0; j < N; ++j) {
        dx.at[j] = gradient.at(rstd * gamma.at[j], dy[k].at[j], x[k].at[j]);
        dgamma[k].at[j] += dy[k].at[j] * (gradient.mean.centre(x[k].at[j]) * rstd);
        dbeta[k].at[j] += dy[k].at[j];
      }
      if (a.dx != nullptr) store<N>(a.dx + row * D + d, dx);
    }
  }
  if (chunks.partials.sums == nullptr || chunk >= chunks.count) return;
  EK_UNROLL
  for (int k = 0; k < K; ++k) {
    const int d = first + k * step;
    if (d >= D) continue;
    store<N>(chunks.partials.dgamma(chunk) + d, dgamma[k]);
    store<N>(chunks.partials.dbeta(chunk) + d, dbeta[k]);
  }
}

/// Short rows: `lanes` neighbouring lanes a chunk. Bytes: 3 M D sizeof(T), and 2 D sizeof(T) a chunk.
template <int N, int K, typename T>
__global__ void __launch_bounds__(kWarpRowThreads, 6)
    layer_norm_backward_warp(LayerNormBackwardArgs<T> a, RowChunks<T> chunks, int lanes) {
  row_gradients<N, K>(a, chunks, LaneTeam{lanes}, thread_number() / lanes);
}

/// A block a chunk. Bytes: 3 M D sizeof(T), and 2 D sizeof(T) a chunk.
template <int N, int K, typename T>
__global__ void __launch_bounds__(kMaxThreads)
    layer_norm_backward_block(LayerNormBackwardArgs<T> a, RowChunks<T> chunks) {
  row_gradients<N, K>(a, chunks, BlockTeam{}, blockIdx.x);
}

/// A block a row of any length: dx, and in rest[M] what rounding took from the mean. dy and x are read twice.
/// Bytes: 3 M D sizeof(T), and the second reading from the L2 cache.
template <int N, typename T>
__global__ void __launch_bounds__(kLongRowThreads)
    layer_norm_backward_long(LayerNormBackwardArgs<T> a, T* rest) {
  const ColumnAffine<T> affine{a.gamma, nullptr};
  const std::int64_t row = blockIdx.x, first = static_cast<std::int64_t>(threadIdx.x) * N;
  const std::int64_t step = static_cast<std::int64_t>(blockDim.x) * N;
  const T *dy_row = a.dy + row * a.D, *x_row = a.x + row * a.D;
  const T mean = a.mean[row], rstd = a.rstd[row];
  const auto for_each = [&](const auto& f) {
    for (std::int64_t d = first; d < a.D; d += step) {
      f(d, load<N>(dy_row + d), load<N>(x_row + d), affine.template gamma_at<N>(row, d));
    }
  };
  using Elements = Vector<T, N>;
  GradientSums<T> sums;
  for_each([&](std::int64_t, const Elements& dy, const Elements& x, const Elements& gamma) {
    EK_UNROLL
    for (int j = 0; j < N; ++j) sums.add(gamma.at[j] * dy.at[j], x.at[j] - mean);
  });
  block_sum(sums.dy, sums.dy_x, sums.x);
  const auto gradient = InputGradient<T>::of(sums, Count<T>(a.D), mean, rstd);
  if (threadIdx.x == 0) rest[row] = gradient.mean.low;
  if (a.dx == nullptr) return;
  for_each([&](std::int64_t d, const Elements& dy, const Elements& x, const Elements& gamma) {
    Elements dx;
    EK_UNROLL
    for (int j = 0; j < N; ++j) dx.at[j] = gradient.at(rstd * gamma.at[j], dy.at[j], x.at[j]);
    store<N>(a.dx + row * a.D + d, dx);
  });
}

inline constexpr int kColumnThreads = 256;

/// The partials of long rows: a thread a column of a chunk, blocks numbered [chunk, columns].
/// Bytes: 2 M D sizeof(T), and 2 D sizeof(T) a chunk.
template <typename T>
__global__ void __launch_bounds__(kColumnThreads)
    layer_norm_parameter_partials(LayerNormBackwardArgs<T> a, const T* rest, RowChunks<T> chunks) {
  const std::int64_t column_blocks = (a.D + kColumnThreads - 1) / kColumnThreads;
  const std::int64_t chunk = blockIdx.x / column_blocks;
  const std::int64_t d = blockIdx.x % column_blocks * kColumnThreads + threadIdx.x;
  if (d >= a.D) return;
  T dgamma = 0, dbeta = 0;
  for (std::int64_t row = chunk * chunks.rows; row < min((chunk + 1) * chunks.rows, a.M); ++row) {
    const T dy = a.dy[row * a.D + d];
    dgamma += dy * (SplitMean<T>{a.mean[row], rest[row]}.centre(a.x[row * a.D + d]) * a.rstd[row]);
    dbeta += dy;
  }
  chunks.partials.dgamma(chunk)[d] = dgamma;
  chunks.partials.dbeta(chunk)[d] = dbeta;
}

template <int N, typename T>
void backward_long(const LayerNormBackwardArgs<T>& a, bool parameters, Stream stream) {
  RowChunks<T> chunks = row_chunks<T>(a.M, a.D, a.D);
  const std::int64_t partials = parameters ? ParameterPartials<T>::bytes(chunks.count, a.D) : 0;
  chunks.partials.sums =
      static_cast<T*>(workspace(stream, partials + a.M * static_cast<std::int64_t>(sizeof(T))));
  T* const rest = chunks.partials.sums + partials / static_cast<std::int64_t>(sizeof(T));
  launch("layer_norm_backward_long", layer_norm_backward_long<N, T>, {a.M, kLongRowThreads, 0, stream}, a,
         rest);
  if (!parameters) return;
  launch("layer_norm_parameter_partials", layer_norm_parameter_partials<T>,
         {chunks.count * blocks_for(a.D, kColumnThreads), kColumnThreads, 0, stream}, a, rest, chunks);
  finalize_parameters(a.dgamma, a.dbeta, chunks.partials, stream);
}

/// Chooses by the length of a row.
template <int N, typename T>
void backward(const LayerNormBackwardArgs<T>& a, Stream stream) {
  constexpr int kHeld = 32 / static_cast<int>(sizeof(T));  // elements a thread
  const bool parameters = a.dgamma != nullptr || a.dbeta != nullptr;
  if (a.D > kMaxThreads * kHeld) return backward_long<N>(a, parameters, stream);
  const bool in_warp = a.D <= kWarp * kHeld;
  const int threads = in_warp ? lanes_for((a.D + N - 1) / N) : whole_warps((a.D + kHeld - 1) / kHeld);
  RowChunks<T> chunks = row_chunks<T>(a.M, a.D, threads);
  if (parameters) {
    const std::int64_t bytes = ParameterPartials<T>::bytes(chunks.count, a.D);
    chunks.partials.sums = static_cast<T*>(workspace(stream, bytes));
  }
  if (in_warp) {
    launch("layer_norm_backward_warp", layer_norm_backward_warp<N, kHeld / N, T>,
           {blocks_for(chunks.count, kWarpRowThreads / threads), kWarpRowThreads, 0, stream}, a, chunks,
           threads);
  } else {
    launch("layer_norm_backward_block", layer_norm_backward_block<N, kHeld / N, T>,
           {chunks.count, threads, 0, stream}, a, chunks);
  }
  finalize_parameters(a.dgamma, a.dbeta, chunks.partials, stream);
}

}  // namespace

template <typename T>
void layer_norm_forward(const LayerNormForwardArgs<T>& a, Stream stream) {
  const bool in_vectors = a.D % kVector<T> == 0 && are_aligned(a.y, a.x, a.gamma, a.beta);
  const RowNorm<T, ColumnAffine<T>> rows{
      a.y, a.mean, a.rstd, a.x, {a.gamma, a.beta}, a.M, a.D, static_cast<T>(a.eps)};
  row_norm_forward("layer_norm_forward", rows, in_vectors, stream);
}

template <typename T>
void layer_norm_backward(const LayerNormBackwardArgs<T>& a, Stream stream) {
  if (a.D % kVector<T> == 0 && are_aligned(a.dx, a.dy, a.x, a.gamma))
    backward<kVector<T>>(a, stream);
  else
    backward<1>(a, stream);
}

template void layer_norm_forward(const LayerNormForwardArgs<float>&, Stream);
template void layer_norm_forward(const LayerNormForwardArgs<double>&, Stream);
template void layer_norm_backward(const LayerNormBackwardArgs<float>&, Stream);
template void layer_norm_backward(const LayerNormBackwardArgs<double>&, Stream);

}  // namespace evenkeel::cuda
