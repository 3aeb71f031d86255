#include "evenkeel/kernels/cuda/norm_ladders.h"

#include <algorithm>

#include "evenkeel/kernels/cuda/norm_sets.cuh"
#include "evenkeel/kernels/cuda/row_norm.cuh"

namespace evenkeel::cuda {
namespace {

/// Backward shares rows out in chunks of `rows` neighbours, one chunk a thread group. Each adds up dgamma and
/// dbeta of its rows in registers and writes them as one row of `partials`, whose sums are null if unwanted.
template <typename T>
struct RowChunks {
  std::int64_t rows, count;
  ParameterPartials<Arithmetic<T>> partials;
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

/// The gradients of one chunk of rows [D] by one thread group, which has dy, x, dgamma and dbeta in
/// registers.
template <int N, int K, typename T, typename Group>
__device__ __forceinline__ void row_gradients(const NormBackwardArgs<T>& a, const RowChunks<T>& chunks,
                                              const Group& threads, std::int64_t chunk) {
  using A = Arithmetic<T>;
  const ColumnAffine<A> affine{a.gamma, nullptr};
  const int D = static_cast<int>(a.S), first = threads.rank() * N, step = threads.size() * N;
  const Count<A> count(D);
  Vector<A, N> dgamma[K] = {}, dbeta[K] = {};
  for (std::int64_t r = 0; r < chunks.rows; ++r) {  // past the last row, only to take part in the sums
    const std::int64_t row = chunk * chunks.rows + r;
    const int columns = row < a.rows() ? D : 0;
    const A mean = row < a.rows() ? a.mean[row] : A(0), rstd = row < a.rows() ? a.rstd[row] : A(0);
    Vector<T, N> dy[K] = {}, x[K] = {};
    EK_UNROLL
    for (int k = 0; k < K; ++k) {
      const int d = first + k * step;
      if (d >= columns) continue;
      dy[k] = load<N>(a.dy + row * D + d);
      x[k] = load<N>(a.x + row * D + d);
    }
    GradientSums<A> sums;
    EK_UNROLL
    for (int k = 0; k < K; ++k) {
      const int d = first + k * step;
      if (d >= columns) continue;
      const Vector<A, N> gamma = affine.template gamma_at<N>(row, d);
      EK_UNROLL
      for (int j = 0; j < N; ++j) sums.add(gamma.at[j] * dy[k].at[j], x[k].at[j] - mean);
    }
    threads.sum(sums.dy, sums.dy_x, sums.x);
    const auto gradient = InputGradient<A>::of(sums, count, mean, rstd, a.centred);
    EK_UNROLL
    for (int k = 0; k < K; ++k) {
      const int d = first + k * step;
      if (d >= columns) continue;
      const Vector<A, N> gamma = affine.template gamma_at<N>(row, d);
      Vector<T, N> dx;
      EK_UNROLL
      for (int j = 0; j < N; ++j) {
        dx.at[j] = static_cast<T>(gradient.at(gamma.at[j], dy[k].at[j], x[k].at[j]));
        dgamma[k].at[j] += dy[k].at[j] * gradient.set.xhat(x[k].at[j]);
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

/// Short rows: `lanes` neighbouring lanes a chunk. Bytes: 3 N C S sizeof(T), and 2 S sizeof(T) a chunk.
template <int N, int K, typename T>
__global__ void __launch_bounds__(kWarpRowThreads, 6)
    layer_norm_backward_warp(NormBackwardArgs<T> a, RowChunks<T> chunks, int lanes) {
  const LaneGroup threads{lanes};
  row_gradients<N, K>(a, chunks, threads, threads.number());
}

/// A block a chunk. Bytes: 3 N C S sizeof(T), and 2 S sizeof(T) a chunk.
template <int N, int K, typename T>
__global__ void __launch_bounds__(kMaxThreads)
    layer_norm_backward_block(NormBackwardArgs<T> a, RowChunks<T> chunks) {
  row_gradients<N, K>(a, chunks, BlockGroup{}, blockIdx.x);
}

/// A block a row of any length: dx, and in rest[N C] what rounding took from the mean. dy and x are read
/// twice. Bytes: 3 N C S sizeof(T), and the second reading from the L2 cache.
template <int N, typename T>
__global__ void __launch_bounds__(kLongRowThreads)
    layer_norm_backward_long(NormBackwardArgs<T> a, Arithmetic<T>* rest) {
  using A = Arithmetic<T>;
  const ColumnAffine<A> affine{a.gamma, nullptr};
  const std::int64_t row = blockIdx.x, first = static_cast<std::int64_t>(threadIdx.x) * N;
  const std::int64_t step = static_cast<std::int64_t>(blockDim.x) * N;
  const T *dy_row = a.dy + row * a.S, *x_row = a.x + row * a.S;
  const A mean = a.mean[row], rstd = a.rstd[row];
  const auto for_each = [&](const auto& f) {
    for (std::int64_t d = first; d < a.S; d += step) {
      f(d, load<N>(dy_row + d), load<N>(x_row + d), affine.template gamma_at<N>(row, d));
    }
  };
  using Elements = Vector<T, N>;
  using Gammas = Vector<A, N>;
  GradientSums<A> sums;
  for_each([&](std::int64_t, const Elements& dy, const Elements& x, const Gammas& gamma) {
    EK_UNROLL
    for (int j = 0; j < N; ++j) sums.add(gamma.at[j] * dy.at[j], x.at[j] - mean);
  });
  block_sum(sums.dy, sums.dy_x, sums.x);
  const auto gradient = InputGradient<A>::of(sums, Count<A>(a.S), mean, rstd, a.centred);
  if (threadIdx.x == 0) rest[row] = gradient.set.mean.low;
  if (a.dx == nullptr) return;
  for_each([&](std::int64_t d, const Elements& dy, const Elements& x, const Gammas& gamma) {
    Elements dx;
    EK_UNROLL
    for (int j = 0; j < N; ++j) dx.at[j] = static_cast<T>(gradient.at(gamma.at[j], dy.at[j], x.at[j]));
    store<N>(a.dx + row * a.S + d, dx);
  });
}

inline constexpr int kColumnThreads = 256;

/// The partials of long rows: a thread a column of a chunk, blocks numbered [chunk, columns].
/// Bytes: 2 N C S sizeof(T), and 2 S sizeof(T) a chunk.
template <typename T>
__global__ void __launch_bounds__(kColumnThreads)
    layer_norm_parameter_partials(NormBackwardArgs<T> a, const Arithmetic<T>* rest, RowChunks<T> chunks) {
  using A = Arithmetic<T>;
  const std::int64_t column_blocks = (a.S + kColumnThreads - 1) / kColumnThreads;
  const std::int64_t chunk = blockIdx.x / column_blocks;
  const std::int64_t d = blockIdx.x % column_blocks * kColumnThreads + threadIdx.x;
  if (d >= a.S) return;
  A dgamma = 0, dbeta = 0;
  for (std::int64_t row = chunk * chunks.rows; row < min((chunk + 1) * chunks.rows, a.rows()); ++row) {
    const A dy = a.dy[row * a.S + d];
    dgamma += dy * SetStatistics<A>{{a.mean[row], rest[row]}, a.rstd[row]}.xhat(a.x[row * a.S + d]);
    dbeta += dy;
  }
  chunks.partials.dgamma(chunk)[d] = dgamma;
  chunks.partials.dbeta(chunk)[d] = dbeta;
}

// --- launchers ---------------------------------------------------------------------------------------------

template <typename T>
bool parameters_wanted(const NormBackwardArgs<T>& a) {
  return a.dgamma != nullptr || a.dbeta != nullptr;
}

/// Partials of every chunk of rows in scratch memory, if they are wanted.
template <typename T>
RowChunks<T> chunks_for(const NormBackwardArgs<T>& a, std::int64_t threads_per_row, Stream stream) {
  using A = Arithmetic<T>;
  RowChunks<T> chunks = row_chunks<T>(a.rows(), a.S, threads_per_row);
  if (parameters_wanted(a)) {
    const std::int64_t bytes = ParameterPartials<A>::bytes(chunks.count, a.S);
    chunks.partials.sums = static_cast<A*>(workspace(stream, bytes));
  }
  return chunks;
}

template <int N, typename T>
void backward_long(const NormBackwardArgs<T>& a, Stream stream) {
  using A = Arithmetic<T>;
  RowChunks<T> chunks = row_chunks<T>(a.rows(), a.S, a.S);
  const std::int64_t partials = parameters_wanted(a) ? ParameterPartials<A>::bytes(chunks.count, a.S) : 0;
  const auto size = static_cast<std::int64_t>(sizeof(A));
  chunks.partials.sums = static_cast<A*>(workspace(stream, partials + a.rows() * size));
  A* const rest = chunks.partials.sums + partials / size;
  launch("layer_norm_backward_long", layer_norm_backward_long<N, T>, {a.rows(), kLongRowThreads, 0, stream},
         a, rest);
  if (!parameters_wanted(a)) return;
  launch("layer_norm_parameter_partials", layer_norm_parameter_partials<T>,
         {chunks.count * blocks_for(a.S, kColumnThreads), kColumnThreads, 0, stream}, a, rest, chunks);
  finalize_parameters(a.dgamma, a.dbeta, chunks.partials, stream);
}

template <int N, typename T>
void backward_in_blocks(const NormBackwardArgs<T>& a, Stream stream) {
  const int threads = std::max(kWarp, whole_warps(blocks_for(a.S, kFewInRegisters<T>)));
  const RowChunks<T> chunks = chunks_for(a, threads, stream);
  launch("layer_norm_backward_block", layer_norm_backward_block<N, kFewInRegisters<T> / N, T>,
         {chunks.count, threads, 0, stream}, a, chunks);
  finalize_parameters(a.dgamma, a.dbeta, chunks.partials, stream);
}

template <int N, typename T>
void backward_in_warps(const NormBackwardArgs<T>& a, Stream stream) {
  const int lanes = lanes_for(blocks_for(a.S, N));
  const RowChunks<T> chunks = chunks_for(a, lanes, stream);
  launch("layer_norm_backward_warp", layer_norm_backward_warp<N, kFewInRegisters<T> / N, T>,
         {blocks_for(chunks.count, kWarpRowThreads / lanes), kWarpRowThreads, 0, stream}, a, chunks, lanes);
  finalize_parameters(a.dgamma, a.dbeta, chunks.partials, stream);
}

// --- ladders -----------------------------------------------------------------------------------------------

template <typename T>
struct LayerNorm {
  using ForwardArgs = NormForwardArgs<T>;
  using BackwardArgs = NormBackwardArgs<T>;
  using Sets = Rows;
  static constexpr const char *kForward = "layer_norm_forward", *kBackward = "layer_norm_backward";

  static RowNorm<T, ColumnAffine<Arithmetic<T>>> rows(const ForwardArgs& a) {
    return {
        a.y,      a.mean, a.rstd, a.x, {a.gamma, a.beta}, a.rows(), a.S, static_cast<Arithmetic<T>>(a.eps),
        a.centred};
  }
  static bool in_vectors(const ForwardArgs& a) {
    return a.S % kVector<T> == 0 && are_aligned(a.y, a.x, a.gamma, a.beta);
  }
  static bool in_vectors(const BackwardArgs& a) {
    return a.S % kVector<T> == 0 && are_aligned(a.dx, a.dy, a.x, a.gamma);
  }
};

}  // namespace

template <typename T>
Ladder<NormForwardArgs<T>> layer_norm_forward_variants() {
  return row_norm_forward_ladder<LayerNorm, T>();
}

template <typename T>
Ladder<NormBackwardArgs<T>> layer_norm_backward_variants() {
  using Args = NormBackwardArgs<T>;
  using Op = LayerNorm<T>;
  static constexpr int V = kVector<T>;
  static constexpr std::int64_t in_warp = kWarp * kFewInRegisters<T>,
                                in_block = kMaxThreads * kFewInRegisters<T>;
  static constexpr Variant<Args> kLadder[] = {
      {"plain", "a thread a row for dx, then a thread a column for dgamma and dbeta",
       [](const Args&) { return true; },
       [](const Args& a, Stream s) { run_set_norm_backward<ThreadGroup>(Op::kBackward, a, Rows::of(a), s); }},
      {"two_kernels", "a block a row for dx; columns in chunks of rows, whose partial sums are added",
       [](const Args&) { return true; }, backward_long<1, T>},
      {"block", "one kernel: a block a chunk of rows, held in registers with the sums of dgamma and dbeta",
       [](const Args& a) { return a.S <= in_block; }, backward_in_blocks<1, T>},
      {"warp", "block, with lanes of a warp a chunk: no barriers",
       [](const Args& a) { return a.S <= in_warp; }, backward_in_warps<1, T>},
      {"two_kernels_vec", "two_kernels, 16 bytes an access for dx",
       [](const Args& a) { return Op::in_vectors(a); }, backward_long<V, T>},
      {"block_vec", "block, 16 bytes an access",
       [](const Args& a) { return Op::in_vectors(a) && a.S <= in_block; }, backward_in_blocks<V, T>},
      {"warp_vec", "warp, 16 bytes an access",
       [](const Args& a) { return Op::in_vectors(a) && a.S <= in_warp; }, backward_in_warps<V, T>},
  };
  return kLadder;
}

#define EK_INSTANTIATE(T)                                            \
  template Ladder<NormForwardArgs<T>> layer_norm_forward_variants(); \
  template Ladder<NormBackwardArgs<T>> layer_norm_backward_variants();
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
EK_INSTANTIATE(bf16)
EK_INSTANTIATE(f16)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cuda
