#include "kernels/layer_norm2d.h"

#include <algorithm>

#include "kernels/cuda/channel_chunks.cuh"
#include "kernels/cuda/norm.cuh"

namespace evenkeel::cuda {
namespace {

inline constexpr int kPixelThreads = 128;
/// With up to so many channels backward holds a pixel's dy, x, dgamma and dbeta in registers.
inline constexpr int kFewChannels = 16;

/// Where the first channel of pixel i of [N, S] is in x [N, C, S]; the others follow S apart.
__device__ __forceinline__ std::int64_t pixel_offset(std::int64_t i, std::int64_t C, std::int64_t S) {
  const Division d = divide(i, S);
  return d.quotient * C * S + d.remainder;
}

template <typename T>
__device__ __forceinline__ T value_or(const T* p, std::int64_t c, T otherwise) {
  return p != nullptr ? p[c] : otherwise;
}

// --- forward -----------------------------------------------------------------------------------------------

/// Statistics and y of pixel i. for_each(f) calls f(c, x of channel c) for every channel.
template <typename T, typename ForEach>
__device__ __forceinline__ void normalize_pixel(const LayerNorm2dForwardArgs<T>& a, T eps, std::int64_t i,
                                                std::int64_t at, const ForEach& for_each) {
  const Count<T> count(a.C);
  const Moments<T> m =
      moments(ThreadTeam{}, count, a.x[at], [&](const auto& f) { for_each([&](auto, T x) { f(x); }); });
  const T rstd = m.rstd(count, eps);
  a.mean[i] = m.mean.high;
  a.rstd[i] = rstd;
  for_each([&](auto c, T x) {
    const T gamma = value_or(a.gamma, c, T(1)), beta = value_or(a.beta, c, T(0));
    a.y[at + c * a.S] = m.mean.centre(x) * rstd * gamma + beta;
  });
}

/// Up to MOST channels: a thread a pixel, which it holds. Bytes: 2 N C S sizeof(T).
template <int MOST, typename T>
__global__ void __launch_bounds__(kPixelThreads)
    layer_norm2d_forward_held(LayerNorm2dForwardArgs<T> a, T eps) {
  const std::int64_t i = thread_number();
  if (i >= a.N * a.S) return;
  const std::int64_t at = pixel_offset(i, a.C, a.S);
  const int C = static_cast<int>(a.C);
  T x[MOST];
  EK_UNROLL
  for (int c = 0; c < MOST; ++c) x[c] = c < C ? a.x[at + c * a.S] : T(0);
  normalize_pixel(a, eps, i, at, [&](const auto& f) {
    EK_UNROLL
    for (int c = 0; c < MOST; ++c) {
      if (c < C) f(c, x[c]);
    }
  });
}

/// Any number of channels: a thread a pixel, read three times. Bytes: 2 N C S sizeof(T), and the second and
/// third reading from cache.
template <typename T>
__global__ void __launch_bounds__(kPixelThreads)
    layer_norm2d_forward_long(LayerNorm2dForwardArgs<T> a, T eps) {
  const std::int64_t i = thread_number();
  if (i >= a.N * a.S) return;
  const std::int64_t at = pixel_offset(i, a.C, a.S);
  normalize_pixel(a, eps, i, at, [&](const auto& f) {
    for (std::int64_t c = 0; c < a.C; ++c) f(c, a.x[at + c * a.S]);
  });
}

// --- backward ----------------------------------------------------------------------------------------------

/// Few channels: dx, and dgamma and dbeta of `strips` times kPixelThreads neighbouring pixels a block, as its
/// row of the partials, whose sums are null if unwanted. Bytes: 3 N C S sizeof(T), and 2 C sizeof(T) a block.
template <typename T>
__global__ void __launch_bounds__(kPixelThreads, 2)
    layer_norm2d_backward_held(LayerNorm2dBackwardArgs<T> a, std::int64_t strips,
                               ParameterPartials<T> partials) {
  const int C = static_cast<int>(a.C);
  const Count<T> count(C);
  T dgamma[kFewChannels] = {}, dbeta[kFewChannels] = {};
  for (std::int64_t strip = 0; strip < strips; ++strip) {
    const std::int64_t i = (blockIdx.x * strips + strip) * kPixelThreads + threadIdx.x;
    if (i >= a.N * a.S) break;
    const std::int64_t at = pixel_offset(i, a.C, a.S);
    const T mean = a.mean[i], rstd = a.rstd[i];
    T dy[kFewChannels], x[kFewChannels];
    EK_UNROLL
    for (int c = 0; c < kFewChannels; ++c) {
      dy[c] = c < C ? a.dy[at + c * a.S] : T(0);
      x[c] = c < C ? a.x[at + c * a.S] : T(0);
    }
    GradientSums<T> sums;
    EK_UNROLL
    for (int c = 0; c < kFewChannels; ++c) {
      if (c < C) sums.add(value_or(a.gamma, c, T(1)) * dy[c], x[c] - mean);
    }
    const auto gradient = InputGradient<T>::of(sums, count, mean, rstd);
    EK_UNROLL
    for (int c = 0; c < kFewChannels; ++c) {
      if (c >= C) continue;
      dgamma[c] += dy[c] * (gradient.mean.centre(x[c]) * rstd);
      dbeta[c] += dy[c];
      const T scale = value_or(a.gamma, c, T(1)) * rstd;
      if (a.dx != nullptr) a.dx[at + c * a.S] = gradient.at(scale, dy[c], x[c]);
    }
  }
  if (partials.sums == nullptr) return;
  EK_UNROLL
  for (int c = 0; c < kFewChannels; ++c) {
    if (c >= C) continue;
    block_sum(dgamma[c], dbeta[c]);
    if (threadIdx.x != 0) continue;
    partials.dgamma(blockIdx.x)[c] = dgamma[c];
    partials.dbeta(blockIdx.x)[c] = dbeta[c];
  }
}

/// Any number of channels: dx, and in rest[N, S] what rounding took from the means. A thread a pixel, read
/// twice. Bytes: 3 N C S sizeof(T), and the second reading from cache.
template <typename T>
__global__ void __launch_bounds__(kPixelThreads, 4)
    layer_norm2d_backward_long(LayerNorm2dBackwardArgs<T> a, T* rest) {
  const std::int64_t i = thread_number();
  if (i >= a.N * a.S) return;
  const std::int64_t at = pixel_offset(i, a.C, a.S);
  const T *const dy = a.dy + at, *const x = a.x + at;
  const T mean = a.mean[i], rstd = a.rstd[i];
  GradientSums<T> sums;
  for (std::int64_t c = 0; c < a.C; ++c)
    sums.add(value_or(a.gamma, c, T(1)) * dy[c * a.S], x[c * a.S] - mean);
  const auto gradient = InputGradient<T>::of(sums, Count<T>(a.C), mean, rstd);
  rest[i] = gradient.mean.low;
  if (a.dx == nullptr) return;
  for (std::int64_t c = 0; c < a.C; ++c) {
    const T scale = value_or(a.gamma, c, T(1)) * rstd;
    a.dx[at + c * a.S] = gradient.at(scale, dy[c * a.S], x[c * a.S]);
  }
}

/// dgamma and dbeta of a chunk of a channel's pixels, a block each. Bytes: 2 N C S sizeof(T), and 3 N S
/// sizeof(T) a channel, from cache where neighbouring channels read the same.
template <int V, int K, typename T>
__global__ void __launch_bounds__(kChunkThreads, 2)
    layer_norm2d_parameter_partials(LayerNorm2dBackwardArgs<T> a, const T* rest, ChannelChunks chunks,
                                    ParameterPartials<T> partials) {
  const ChunkPlace<V, K> place(chunks);
  Vector<T, V> dy[K], x[K];
  place.load_from(a.dy, dy);
  place.load_from(a.x, x);
  T dgamma = 0, dbeta = 0;
  EK_UNROLL
  for (int k = 0; k < K; ++k) {
    if (place.at[k] < 0) continue;
    const std::int64_t i = place.pixel(k);
    const Vector<T, V> high = load<V>(a.mean + i), low = load<V>(rest + i), rstd = load<V>(a.rstd + i);
    EK_UNROLL
    for (int j = 0; j < V; ++j) {
      const SplitMean<T> mean{high.at[j], low.at[j]};
      dgamma += dy[k].at[j] * (mean.centre(x[k].at[j]) * rstd.at[j]);
      dbeta += dy[k].at[j];
    }
  }
  block_sum(dgamma, dbeta);
  if (threadIdx.x != 0) return;
  partials.dgamma(place.chunk)[place.channel] = dgamma;
  partials.dbeta(place.chunk)[place.channel] = dbeta;
}

// --- launchers ---------------------------------------------------------------------------------------------

template <typename T>
void backward_held(const LayerNorm2dBackwardArgs<T>& a, bool parameters, Stream stream) {
  constexpr std::int64_t kThreads = 1 << 17;  // busy, and no more partials than that makes
  const std::int64_t pixels = a.N * a.S, strips = std::max<std::int64_t>(1, blocks_for(pixels, kThreads));
  const std::int64_t blocks = blocks_for(pixels, strips * kPixelThreads);
  ParameterPartials<T> partials{nullptr, blocks, a.C};
  if (parameters) {
    const std::int64_t bytes = ParameterPartials<T>::bytes(blocks, a.C);
    partials.sums = static_cast<T*>(workspace(stream, bytes));
  }
  launch("layer_norm2d_backward_held", layer_norm2d_backward_held<T>, {blocks, kPixelThreads, 0, stream}, a,
         strips, partials);
  finalize_parameters(a.dgamma, a.dbeta, partials, stream);
}

template <int V, typename T>
void backward_long(const LayerNorm2dBackwardArgs<T>& a, bool parameters, Stream stream) {
  constexpr int kElements = 32 / static_cast<int>(sizeof(T));
  const ChannelChunks chunks(a.N, a.C, a.S, kElements, V);
  const std::int64_t pixels = a.N * a.S;
  const std::int64_t bytes = pixels * static_cast<std::int64_t>(sizeof(T));
  T* const rest =
      static_cast<T*>(workspace(stream, bytes + ParameterPartials<T>::bytes(chunks.per_channel, a.C)));
  const ParameterPartials<T> partials{rest + pixels, chunks.per_channel, a.C};
  launch("layer_norm2d_backward_long", layer_norm2d_backward_long<T>,
         {blocks_for(pixels, kPixelThreads), kPixelThreads, 0, stream}, a, rest);
  if (!parameters) return;
  launch("layer_norm2d_parameter_partials", layer_norm2d_parameter_partials<V, kElements / V, T>,
         {chunks.blocks(), kChunkThreads, 0, stream}, a, rest, chunks, partials);
  finalize_parameters(a.dgamma, a.dbeta, partials, stream);
}

}  // namespace

template <typename T>
void layer_norm2d_forward(const LayerNorm2dForwardArgs<T>& a, Stream stream) {
  if (a.C == 0) return;
  const auto kernel = a.C <= 16   ? layer_norm2d_forward_held<16, T>
                      : a.C <= 64 ? layer_norm2d_forward_held<64, T>
                                  : layer_norm2d_forward_long<T>;
  launch("layer_norm2d_forward", kernel, {blocks_for(a.N * a.S, kPixelThreads), kPixelThreads, 0, stream}, a,
         static_cast<T>(a.eps));
}

template <typename T>
void layer_norm2d_backward(const LayerNorm2dBackwardArgs<T>& a, Stream stream) {
  const bool parameters = a.dgamma != nullptr || a.dbeta != nullptr;
  if (a.C <= kFewChannels)
    backward_held(a, parameters, stream);
  else if (a.S % kVector<T> == 0 && are_aligned(a.dy, a.x, a.mean, a.rstd))
    backward_long<kVector<T>>(a, parameters, stream);
  else
    backward_long<1>(a, parameters, stream);
}

template void layer_norm2d_forward(const LayerNorm2dForwardArgs<float>&, Stream);
template void layer_norm2d_forward(const LayerNorm2dForwardArgs<double>&, Stream);
template void layer_norm2d_backward(const LayerNorm2dBackwardArgs<float>&, Stream);
template void layer_norm2d_backward(const LayerNorm2dBackwardArgs<double>&, Stream);

}  // namespace evenkeel::cuda
