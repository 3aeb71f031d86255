#include "evenkeel/kernels/cuda/norm_ladders.h"

#include "evenkeel/kernels/cuda/channel_chunks.cuh"
#include "evenkeel/kernels/cuda/norm_sets.cuh"

namespace evenkeel::cuda {
namespace {

// --- forward -----------------------------------------------------------------------------------------------

/// Moments of every chunk [C, chunks]. Bytes: N C S sizeof(T), and 3 sizeof(T) a chunk.
template <int V, int K, typename T>
__global__ void __launch_bounds__(kChunkThreads)
    batch_norm_chunk_moments(Moments<Arithmetic<T>>* out, const T* x, ChannelChunks chunks) {
  using A = Arithmetic<T>;
  const ChunkPlace<V, K> place(chunks);
  Vector<T, V> values[K];
  place.load_from(x, values);
  const Count<A> count(chunks.elements_of(place.chunk));
  const A pivot = x[place.channel * chunks.S];
  const Moments<A> m = moments(BlockGroup{}, count, pivot, [&](const auto& f) {
    EK_UNROLL
    for (int k = 0; k < K; ++k) {
      EK_UNROLL
      for (int j = 0; j < V; ++j) {
        if (place.at[k] >= 0) f(values[k].at[j]);
      }
    }
  });
  if (threadIdx.x == 0) out[place.channel * chunks.per_channel + place.chunk] = m;
}

/// What the normalizing pass needs of a channel.
template <typename A>
struct Normalizer {
  SetStatistics<A> set;
  A gamma, beta;
};

template <typename T, typename A = Arithmetic<T>>
__device__ __forceinline__ Normalizer<A> normalizer(const NormForwardArgs<T>& a, std::int64_t c,
                                                    const SplitMean<A>& mean, A rstd) {
  a.mean[c] = mean.high;
  a.rstd[c] = rstd;
  return {{mean, rstd}, value_or(a.gamma, c, A(1)), value_or(a.beta, c, A(0))};
}

/// A block a channel: merges the moments of its chunks (Chan, Golub and LeVeque, 1979), as offsets from the
/// first chunk's mean, which keep the digits. Bytes: 3 sizeof(T) a chunk, twice, the second time from cache.
template <typename T, typename A = Arithmetic<T>>
__global__ void __launch_bounds__(kChunkThreads)
    batch_norm_merge_moments(NormForwardArgs<T> a, A eps, RunningAverage<A> running,
                             const Moments<A>* moments, ChannelChunks chunks, Normalizer<A>* out) {
  const std::int64_t c = blockIdx.x;
  const Moments<A>* const of_channel = moments + c * chunks.per_channel;
  const SplitMean<A> first = chunks.per_channel > 0 ? of_channel[0].mean : SplitMean<A>{};
  const Count<A> count(chunks.count);
  const auto offset = [&](std::int64_t k) {
    return (of_channel[k].mean.high - first.high) + (of_channel[k].mean.low - first.low);
  };
  A mean = 0, m2 = 0;
  for (std::int64_t k = threadIdx.x; k < chunks.per_channel; k += kChunkThreads)
    mean += static_cast<A>(chunks.elements_of(k)) * count.inverse * offset(k);
  block_sum(mean);
  for (std::int64_t k = threadIdx.x; k < chunks.per_channel; k += kChunkThreads) {
    const A d = offset(k) - mean;
    m2 += squares_about(of_channel[k].m2, static_cast<A>(chunks.elements_of(k)), d);
  }
  block_sum(m2);
  if (threadIdx.x != 0) return;
  const Moments<A> batch{two_sum(first.high, first.low + mean), m2};
  out[c] = normalizer(a, c, batch.mean, batch.rstd(count, eps));
  running(c, batch, count);
}

/// Evaluation: the running statistics in the batch's place. A thread a channel. Bytes: 10 C sizeof(T).
template <typename T, typename A = Arithmetic<T>>
__global__ void __launch_bounds__(kChunkThreads)
    batch_norm_use_running(NormForwardArgs<T> a, A eps, Normalizer<A>* out) {
  const std::int64_t c = thread_number();
  if (c >= a.C) return;
  const A rstd = rstd_of(a.running_var[c], eps);
  out[c] = normalizer(a, c, SplitMean<A>{a.running_mean[c], A(0)}, rstd);
}

/// y. Bytes: 2 N C S sizeof(T).
template <int V, int K, typename T, typename A = Arithmetic<T>>
__global__ void __launch_bounds__(kChunkThreads)
    batch_norm_normalize(T* y, const T* x, const Normalizer<A>* normalizers, ChannelChunks chunks) {
  const ChunkPlace<V, K> place(chunks);
  Vector<T, V> values[K];
  place.load_from(x, values);
  const Normalizer<A> n = normalizers[place.channel];
  EK_UNROLL
  for (int k = 0; k < K; ++k) {
    EK_UNROLL
    for (int j = 0; j < V; ++j)
      values[k].at[j] = static_cast<T>(scaled_and_shifted<A>(n.set.xhat(values[k].at[j]), n.gamma, n.beta));
    if (place.at[k] >= 0) store<V>(y + place.at[k], values[k]);
  }
}

// --- backward ----------------------------------------------------------------------------------------------

/// Sums of every chunk [C, chunks]. Bytes: 2 N C S sizeof(T), and 3 sizeof(T) a chunk.
template <int V, int K, typename T, typename A = Arithmetic<T>>
__global__ void __launch_bounds__(kChunkThreads, 2)
    batch_norm_chunk_gradient_sums(GradientSums<A>* out, NormBackwardArgs<T> a, ChannelChunks chunks) {
  const ChunkPlace<V, K> place(chunks);
  Vector<T, V> dy[K], x[K];
  place.load_from(a.dy, dy);
  place.load_from(a.x, x);
  const A mean = a.mean[place.channel];
  GradientSums<A> sums;
  EK_UNROLL
  for (int k = 0; k < K; ++k) {
    EK_UNROLL
    for (int j = 0; j < V; ++j) {
      if (place.at[k] >= 0) sums.add(dy[k].at[j], x[k].at[j] - mean);
    }
  }
  block_sum(sums.dy, sums.dy_x, sums.x);
  if (threadIdx.x == 0) out[place.channel * chunks.per_channel + place.chunk] = sums;
}

/// What the pass over dx needs of a channel.
template <typename A>
struct ChannelGradient {
  InputGradient<A> input;
  A gamma;
};

/// A block a channel: dgamma, dbeta, and what dx is made of. Bytes: 3 sizeof(T) a chunk.
template <typename T, typename A = Arithmetic<T>>
__global__ void __launch_bounds__(kChunkThreads)
    batch_norm_merge_gradient_sums(NormBackwardArgs<T> a, const GradientSums<A>* sums, ChannelChunks chunks,
                                   ChannelGradient<A>* out) {
  const std::int64_t c = blockIdx.x;
  GradientSums<A> total;
  for (std::int64_t k = threadIdx.x; k < chunks.per_channel; k += kChunkThreads)
    total.add(sums[c * chunks.per_channel + k]);
  block_sum(total.dy, total.dy_x, total.x);
  if (threadIdx.x != 0) return;
  const Count<A> count(chunks.count);
  const A mean = a.mean[c], rstd = a.rstd[c], gamma = value_or(a.gamma, c, A(1));
  const A rest = a.training ? total.rest(count) : A(0);  // the running mean is no mean of this batch
  const A dgamma = a.training ? total.dy_xhat(rest, rstd) : total.dy_x * rstd;
  if (a.dgamma != nullptr) a.dgamma[c] = dgamma;
  if (a.dbeta != nullptr) a.dbeta[c] = total.dy;
  GradientSums<A> of_g;
  of_g.add(total, gamma);
  out[c] = {InputGradient<A>::of(of_g, count, mean, rstd), gamma};
}

/// dx; in evaluation gamma rstd dy, whatever x is. Bytes: 3 N C S sizeof(T).
template <int V, int K, typename T, typename A = Arithmetic<T>>
__global__ void __launch_bounds__(kChunkThreads, 2)
    batch_norm_input_gradient(T* dx, const T* dy, const T* x, const ChannelGradient<A>* gradients,
                              ChannelChunks chunks, bool training) {
  const ChunkPlace<V, K> place(chunks);
  Vector<T, V> dy_part[K], x_part[K];
  place.load_from(dy, dy_part);
  place.load_from(x, x_part);
  const ChannelGradient<A> gradient = gradients[place.channel];
  const A in_evaluation = gradient.gamma * gradient.input.set.rstd;
  EK_UNROLL
  for (int k = 0; k < K; ++k) {
    EK_UNROLL
    for (int j = 0; j < V; ++j) {
      const A dy_j = dy_part[k].at[j], x_j = x_part[k].at[j];
      x_part[k].at[j] =
          static_cast<T>(training ? gradient.input.at(gradient.gamma, dy_j, x_j) : in_evaluation * dy_j);
    }
    if (place.at[k] >= 0) store<V>(dx + place.at[k], x_part[k]);
  }
}

// --- launchers ---------------------------------------------------------------------------------------------

/// Scratch: an A a channel, then a B a chunk.
template <typename A, typename B>
struct Scratch {
  A* of_channel;
  B* of_chunk;
  Scratch(const ChannelChunks& chunks, Stream stream) {
    const std::int64_t first = chunks.C * static_cast<std::int64_t>(sizeof(A));
    of_channel =
        static_cast<A*>(workspace(stream, first + chunks.blocks() * static_cast<std::int64_t>(sizeof(B))));
    of_chunk = reinterpret_cast<B*>(of_channel + chunks.C);
  }
};

/// The most elements that a thread has in registers.
template <typename T>
inline constexpr int kMostInRegisters = 64 / static_cast<int>(sizeof(Arithmetic<T>));

template <int V, typename T>
void forward(const NormForwardArgs<T>& a, Stream stream) {
  using A = Arithmetic<T>;
  constexpr int K = kMostInRegisters<T> / V;
  const ChannelChunks chunks(a.N, a.C, a.S, kMostInRegisters<T>, V);
  const Scratch<Normalizer<A>, Moments<A>> scratch(chunks, stream);
  const A eps = static_cast<A>(a.eps);
  const LaunchConfig whole{chunks.blocks(), kChunkThreads, 0, stream};
  if (a.training) {
    launch("batch_norm_chunk_moments", batch_norm_chunk_moments<V, K, T>, whole, scratch.of_chunk, a.x,
           chunks);
    launch("batch_norm_merge_moments", batch_norm_merge_moments<T>, {a.C, kChunkThreads, 0, stream}, a, eps,
           RunningAverage<A>::of(a), scratch.of_chunk, chunks, scratch.of_channel);
  } else {
    launch("batch_norm_use_running", batch_norm_use_running<T>,
           {blocks_for(a.C, kChunkThreads), kChunkThreads, 0, stream}, a, eps, scratch.of_channel);
  }
  launch("batch_norm_normalize", batch_norm_normalize<V, K, T>, whole, a.y, a.x, scratch.of_channel, chunks);
}

template <int V, typename T>
void backward(const NormBackwardArgs<T>& a, Stream stream) {
  using A = Arithmetic<T>;
  constexpr int K = kMostInRegisters<T> / V;
  const ChannelChunks chunks(a.N, a.C, a.S, kMostInRegisters<T>, V);
  const Scratch<ChannelGradient<A>, GradientSums<A>> scratch(chunks, stream);
  const LaunchConfig whole{chunks.blocks(), kChunkThreads, 0, stream};
  launch("batch_norm_chunk_gradient_sums", batch_norm_chunk_gradient_sums<V, K, T>, whole, scratch.of_chunk,
         a, chunks);
  launch("batch_norm_merge_gradient_sums", batch_norm_merge_gradient_sums<T>, {a.C, kChunkThreads, 0, stream},
         a, scratch.of_chunk, chunks, scratch.of_channel);
  if (a.dx == nullptr) return;
  launch("batch_norm_input_gradient", batch_norm_input_gradient<V, K, T>, whole, a.dx, a.dy, a.x,
         scratch.of_channel, chunks, a.training);
}

}  // namespace

// --- ladders -----------------------------------------------------------------------------------------------

template <typename T>
Ladder<NormForwardArgs<T>> batch_norm_forward_variants() {
  using Args = NormForwardArgs<T>;
  static constexpr int V = kVector<T>;
  static constexpr auto training = [](const Args& a) { return a.training; };
  static constexpr Variant<Args> kLadder[] = {
      {"plain", "a thread a channel, read three times", training,
       [](const Args& a, Stream s) {
         run_set_norm_forward<ThreadGroup>("batch_norm_forward", a, Channels::of(a), s,
                                           RunningAverage<Arithmetic<T>>::of(a));
       }},
      {"chunks", "many blocks a channel, whose moments are merged; read twice",
       [](const Args&) { return true; }, forward<1, T>},
      {"chunks_vec", "chunks, 16 bytes an access",
       [](const Args& a) { return a.S % V == 0 && are_aligned(a.y, a.x); }, forward<V, T>},
  };
  return kLadder;
}

template <typename T>
Ladder<NormBackwardArgs<T>> batch_norm_backward_variants() {
  using Args = NormBackwardArgs<T>;
  static constexpr int V = kVector<T>;
  static constexpr auto training = [](const Args& a) { return a.training; };
  static constexpr Variant<Args> kLadder[] = {
      {"plain", "a thread a channel for dx, and one for dgamma and dbeta", training,
       [](const Args& a, Stream s) {
         run_set_norm_backward<ThreadGroup>("batch_norm_backward", a, Channels::of(a), s);
       }},
      {"chunks", "many blocks a channel; one reading gives the sums of dx, dgamma and dbeta",
       [](const Args&) { return true; }, backward<1, T>},
      {"chunks_vec", "chunks, 16 bytes an access",
       [](const Args& a) { return a.S % V == 0 && are_aligned(a.dx, a.dy, a.x); }, backward<V, T>},
  };
  return kLadder;
}

#define EK_INSTANTIATE(T)                                            \
  template Ladder<NormForwardArgs<T>> batch_norm_forward_variants(); \
  template Ladder<NormBackwardArgs<T>> batch_norm_backward_variants();
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
EK_INSTANTIATE(bf16)
EK_INSTANTIATE(f16)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cuda
