#include "kernels/batch_norm.h"

#include "kernels/cuda/channel_chunks.cuh"
#include "kernels/cuda/norm.cuh"

namespace evenkeel::cuda {
namespace {

// --- forward -----------------------------------------------------------------------------------------------

/// Moments of every chunk [C, chunks]. Bytes: N C S sizeof(T), and 3 sizeof(T) a chunk.
template <int V, int K, typename T>
__global__ void __launch_bounds__(kChunkThreads)
    batch_norm_chunk_moments(Moments<T>* out, const T* x, ChannelChunks chunks) {
  const ChunkPlace<V, K> place(chunks);
  Vector<T, V> values[K];
  place.load_from(x, values);
  const Count<T> count(chunks.elements_of(place.chunk));
  const Moments<T> m = moments(BlockTeam{}, count, x[place.channel * chunks.S], [&](const auto& f) {
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
template <typename T>
struct Normalizer {
  SplitMean<T> mean;
  T scale, shift;
};

template <typename T>
__device__ __forceinline__ Normalizer<T> normalizer(const BatchNormForwardArgs<T>& a, std::int64_t c,
                                                    const SplitMean<T>& mean, T rstd) {
  a.mean[c] = mean.high;
  a.rstd[c] = rstd;
  return {mean, a.gamma != nullptr ? a.gamma[c] * rstd : rstd, a.beta != nullptr ? a.beta[c] : T(0)};
}

/// A block a channel: merges the moments of its chunks (Chan, Golub and LeVeque, 1979), as offsets from the
/// first chunk's mean, which keep the digits. Bytes: 3 sizeof(T) a chunk, twice, the second time from cache.
template <typename T>
__global__ void __launch_bounds__(kChunkThreads)
    batch_norm_merge_moments(BatchNormForwardArgs<T> a, T eps, T momentum, const Moments<T>* moments,
                             ChannelChunks chunks, Normalizer<T>* out) {
  const std::int64_t c = blockIdx.x;
  const Moments<T>* const of_channel = moments + c * chunks.per_channel;
  const SplitMean<T> first = chunks.per_channel > 0 ? of_channel[0].mean : SplitMean<T>{};
  const Count<T> count(chunks.count);
  const auto offset = [&](std::int64_t k) {
    return (of_channel[k].mean.high - first.high) + (of_channel[k].mean.low - first.low);
  };
  T mean = 0, m2 = 0;
  for (std::int64_t k = threadIdx.x; k < chunks.per_channel; k += kChunkThreads)
    mean += static_cast<T>(chunks.elements_of(k)) * count.inverse * offset(k);
  block_sum(mean);
  for (std::int64_t k = threadIdx.x; k < chunks.per_channel; k += kChunkThreads) {
    const T d = offset(k) - mean;
    m2 += of_channel[k].m2 + static_cast<T>(chunks.elements_of(k)) * d * d;
  }
  block_sum(m2);
  if (threadIdx.x != 0) return;
  const Moments<T> batch{SplitMean<T>::of(first.high, first.low + mean), m2};
  out[c] = normalizer(a, c, batch.mean, batch.rstd(count, eps));
  if (a.running_mean == nullptr) return;
  a.running_mean[c] -= momentum * batch.mean.centre(a.running_mean[c]);
  a.running_var[c] += momentum * (m2 / (count.n - 1) - a.running_var[c]);
}

/// Evaluation: the running statistics in the batch's place. A thread a channel. Bytes: 10 C sizeof(T).
template <typename T>
__global__ void __launch_bounds__(kChunkThreads)
    batch_norm_use_running(BatchNormForwardArgs<T> a, T eps, Normalizer<T>* out) {
  const std::int64_t c = thread_number();
  if (c >= a.C) return;
  const T rstd = T(1) / std::sqrt(a.running_var[c] + eps);
  out[c] = normalizer(a, c, SplitMean<T>{a.running_mean[c], T(0)}, rstd);
}

/// y = (x - mean) scale + shift. Bytes: 2 N C S sizeof(T).
template <int V, int K, typename T>
__global__ void __launch_bounds__(kChunkThreads)
    batch_norm_normalize(T* y, const T* x, const Normalizer<T>* normalizers, ChannelChunks chunks) {
  const ChunkPlace<V, K> place(chunks);
  Vector<T, V> values[K];
  place.load_from(x, values);
  const Normalizer<T> n = normalizers[place.channel];
  EK_UNROLL
  for (int k = 0; k < K; ++k) {
    EK_UNROLL
    for (int j = 0; j < V; ++j) values[k].at[j] = n.mean.centre(values[k].at[j]) * n.scale + n.shift;
    if (place.at[k] >= 0) store<V>(y + place.at[k], values[k]);
  }
}

// --- backward ----------------------------------------------------------------------------------------------

/// Sums of every chunk [C, chunks]. Bytes: 2 N C S sizeof(T), and 3 sizeof(T) a chunk.
template <int V, int K, typename T>
__global__ void __launch_bounds__(kChunkThreads, 2)
    batch_norm_chunk_gradient_sums(GradientSums<T>* out, BatchNormBackwardArgs<T> a, ChannelChunks chunks) {
  const ChunkPlace<V, K> place(chunks);
  Vector<T, V> dy[K], x[K];
  place.load_from(a.dy, dy);
  place.load_from(a.x, x);
  const T mean = a.mean[place.channel];
  GradientSums<T> sums;
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
template <typename T>
struct ChannelGradient {
  InputGradient<T> input;
  T scale;
};

/// A block a channel: dgamma, dbeta, and the coefficients of dx. Bytes: 3 sizeof(T) a chunk.
template <typename T>
__global__ void __launch_bounds__(kChunkThreads)
    batch_norm_merge_gradient_sums(BatchNormBackwardArgs<T> a, const GradientSums<T>* sums,
                                   ChannelChunks chunks, ChannelGradient<T>* out) {
  const std::int64_t c = blockIdx.x;
  GradientSums<T> total;
  for (std::int64_t k = threadIdx.x; k < chunks.per_channel; k += kChunkThreads)
    total.add(sums[c * chunks.per_channel + k]);
  block_sum(total.dy, total.dy_x, total.x);
  if (threadIdx.x != 0) return;
  const Count<T> count(chunks.count);
  const T mean = a.mean[c], rstd = a.rstd[c], scale = a.gamma != nullptr ? a.gamma[c] * rstd : rstd;
  const T rest = a.training ? total.rest(count) : T(0);  // the running mean is no mean of this batch
  const T dgamma = total.dy_xhat(rest, rstd);
  if (a.dgamma != nullptr) a.dgamma[c] = dgamma;
  if (a.dbeta != nullptr) a.dbeta[c] = total.dy;
  const T along_xhat = a.training ? scale * rstd * (dgamma * count.inverse) : T(0);
  const T offset = a.training ? scale * (total.dy * count.inverse) : T(0);
  out[c] = {{{mean, rest}, along_xhat, offset}, scale};
}

/// dx. Bytes: 3 N C S sizeof(T).
template <int V, int K, typename T>
__global__ void __launch_bounds__(kChunkThreads)
    batch_norm_input_gradient(T* dx, const T* dy, const T* x, const ChannelGradient<T>* gradients,
                              ChannelChunks chunks) {
  const ChunkPlace<V, K> place(chunks);
  Vector<T, V> dy_part[K], x_part[K];
  place.load_from(dy, dy_part);
  place.load_from(x, x_part);
  const ChannelGradient<T> gradient = gradients[place.channel];
  EK_UNROLL
  for (int k = 0; k < K; ++k) {
    EK_UNROLL
    for (int j = 0; j < V; ++j)
      x_part[k].at[j] = gradient.input.at(gradient.scale, dy_part[k].at[j], x_part[k].at[j]);
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

template <int V, typename T>
void forward(const BatchNormForwardArgs<T>& a, Stream stream) {
  constexpr int kElements = 64 / static_cast<int>(sizeof(T)), K = kElements / V;
  const ChannelChunks chunks(a.N, a.C, a.S, kElements, V);
  const Scratch<Normalizer<T>, Moments<T>> scratch(chunks, stream);
  const T eps = static_cast<T>(a.eps), momentum = static_cast<T>(a.momentum);
  const LaunchConfig whole{chunks.blocks(), kChunkThreads, 0, stream};
  if (a.training) {
    launch("batch_norm_chunk_moments", batch_norm_chunk_moments<V, K, T>, whole, scratch.of_chunk, a.x,
           chunks);
    launch("batch_norm_merge_moments", batch_norm_merge_moments<T>, {a.C, kChunkThreads, 0, stream}, a, eps,
           momentum, scratch.of_chunk, chunks, scratch.of_channel);
  } else {
    launch("batch_norm_use_running", batch_norm_use_running<T>,
           {blocks_for(a.C, kChunkThreads), kChunkThreads, 0, stream}, a, eps, scratch.of_channel);
  }
  launch("batch_norm_normalize", batch_norm_normalize<V, K, T>, whole, a.y, a.x, scratch.of_channel, chunks);
}

template <int V, typename T>
void backward(const BatchNormBackwardArgs<T>& a, Stream stream) {
  constexpr int kElements = 64 / static_cast<int>(sizeof(T)), K = kElements / V;
  const ChannelChunks chunks(a.N, a.C, a.S, kElements, V);
  const Scratch<ChannelGradient<T>, GradientSums<T>> scratch(chunks, stream);
  const LaunchConfig whole{chunks.blocks(), kChunkThreads, 0, stream};
  launch("batch_norm_chunk_gradient_sums", batch_norm_chunk_gradient_sums<V, K, T>, whole, scratch.of_chunk,
         a, chunks);
  launch("batch_norm_merge_gradient_sums", batch_norm_merge_gradient_sums<T>, {a.C, kChunkThreads, 0, stream},
         a, scratch.of_chunk, chunks, scratch.of_channel);
  if (a.dx == nullptr) return;
  launch("batch_norm_input_gradient", batch_norm_input_gradient<V, K, T>, whole, a.dx, a.dy, a.x,
         scratch.of_channel, chunks);
}

}  // namespace

template <typename T>
void batch_norm_forward(const BatchNormForwardArgs<T>& a, Stream stream) {
  if (a.S % kVector<T> == 0 && are_aligned(a.y, a.x))
    forward<kVector<T>>(a, stream);
  else
    forward<1>(a, stream);
}

template <typename T>
void batch_norm_backward(const BatchNormBackwardArgs<T>& a, Stream stream) {
  if (a.S % kVector<T> == 0 && are_aligned(a.dx, a.dy, a.x))
    backward<kVector<T>>(a, stream);
  else
    backward<1>(a, stream);
}

template void batch_norm_forward(const BatchNormForwardArgs<float>&, Stream);
template void batch_norm_forward(const BatchNormForwardArgs<double>&, Stream);
template void batch_norm_backward(const BatchNormBackwardArgs<float>&, Stream);
template void batch_norm_backward(const BatchNormBackwardArgs<double>&, Stream);

}  // namespace evenkeel::cuda
