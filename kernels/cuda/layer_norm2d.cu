#include "evenkeel/kernels/cuda/norm_ladders.h"

#include <algorithm>

#include "evenkeel/kernels/cuda/channel_chunks.cuh"
#include "evenkeel/kernels/cuda/norm_sets.cuh"

namespace evenkeel::cuda {
namespace {

inline constexpr int kPixelThreads = 128;
/// Backward has a pixel's dy, x, dgamma and dbeta in registers if there are at most so many channels.
inline constexpr int kFewChannels = 16;

// --- forward -----------------------------------------------------------------------------------------------

/// Up to MOST channels: a thread has a pixel in registers. Bytes: 2 N C S sizeof(T).
template <int MOST, typename T, typename A = Arithmetic<T>>
__global__ void __launch_bounds__(kPixelThreads, 2)
    layer_norm2d_forward_in_registers(NormForwardArgs<T> a, A eps) {
  const std::int64_t i = thread_number();
  if (i >= a.N * a.S) return;
  const std::int64_t at = pixel_offset(i, a.C, a.S);
  const int C = static_cast<int>(a.C);
  T x[MOST];
  EK_UNROLL
  for (int c = 0; c < MOST; ++c) x[c] = c < C ? a.x[at + c * a.S] : T(0);
  const Count<A> count(C);
  const Moments<A> m = moments(ThreadGroup{}, count, static_cast<A>(x[0]), [&](const auto& f) {
    EK_UNROLL
    for (int c = 0; c < MOST; ++c) {
      if (c < C) f(x[c]);
    }
  });
  const SetStatistics<A> pixel = m.statistics(count, eps);
  a.mean[i] = pixel.mean.high;
  a.rstd[i] = pixel.rstd;
  EK_UNROLL
  for (int c = 0; c < MOST; ++c) {
    if (c >= C) continue;
    const A gamma = value_or(a.gamma, c, A(1)), beta = value_or(a.beta, c, A(0));
    a.y[at + c * a.S] = static_cast<T>(scaled_and_shifted<A>(pixel.xhat(x[c]), gamma, beta));
  }
}

// --- backward ----------------------------------------------------------------------------------------------

/// Few channels: dx, and dgamma and dbeta of `strips` times kPixelThreads neighbouring pixels a block, as its
/// row of the partials, whose sums are null if unwanted. Bytes: 3 N C S sizeof(T), and 2 C sizeof(T) a block.
template <typename T, typename A = Arithmetic<T>>
__global__ void __launch_bounds__(kPixelThreads, 2)
    layer_norm2d_backward_in_registers(NormBackwardArgs<T> a, std::int64_t strips,
                                       ParameterPartials<A> partials) {
  const int C = static_cast<int>(a.C);
  const Count<A> count(C);
  A dgamma[kFewChannels] = {}, dbeta[kFewChannels] = {};
  for (std::int64_t strip = 0; strip < strips; ++strip) {
    const std::int64_t i = (blockIdx.x * strips + strip) * kPixelThreads + threadIdx.x;
    if (i >= a.N * a.S) break;
    const std::int64_t at = pixel_offset(i, a.C, a.S);
    const A mean = a.mean[i], rstd = a.rstd[i];
    T dy[kFewChannels], x[kFewChannels];
    EK_UNROLL
    for (int c = 0; c < kFewChannels; ++c) {
      dy[c] = c < C ? a.dy[at + c * a.S] : T(0);
      x[c] = c < C ? a.x[at + c * a.S] : T(0);
    }
    GradientSums<A> sums;
    EK_UNROLL
    for (int c = 0; c < kFewChannels; ++c) {
      if (c < C) sums.add(value_or(a.gamma, c, A(1)) * dy[c], x[c] - mean);
    }
    const auto gradient = InputGradient<A>::of(sums, count, mean, rstd);
    EK_UNROLL
    for (int c = 0; c < kFewChannels; ++c) {
      if (c >= C) continue;
      dgamma[c] += dy[c] * gradient.set.xhat(x[c]);
      dbeta[c] += dy[c];
      const A gamma = value_or(a.gamma, c, A(1));
      if (a.dx != nullptr) a.dx[at + c * a.S] = static_cast<T>(gradient.at(gamma, dy[c], x[c]));
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

/// dgamma and dbeta of a chunk of a channel's pixels, a block each. Bytes: 2 N C S sizeof(T), and 3 N S
/// sizeof(T) a channel, from cache where neighbouring channels read the same.
template <int V, int K, typename T, typename A = Arithmetic<T>>
__global__ void __launch_bounds__(kChunkThreads, 2)
    layer_norm2d_parameter_partials(NormBackwardArgs<T> a, const A* rest, ChannelChunks chunks,
                                    ParameterPartials<A> partials) {
  const ChunkPlace<V, K> place(chunks);
  Vector<T, V> dy[K], x[K];
  place.load_from(a.dy, dy);
  place.load_from(a.x, x);
  A dgamma = 0, dbeta = 0;
  EK_UNROLL
  for (int k = 0; k < K; ++k) {
    if (place.at[k] < 0) continue;
    const std::int64_t i = place.pixel(k);
    const Vector<A, V> high = load<V>(a.mean + i), low = load<V>(rest + i), rstd = load<V>(a.rstd + i);
    EK_UNROLL
    for (int j = 0; j < V; ++j) {
      dgamma += dy[k].at[j] * SetStatistics<A>{{high.at[j], low.at[j]}, rstd.at[j]}.xhat(x[k].at[j]);
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
bool parameters_wanted(const NormBackwardArgs<T>& a) {
  return a.dgamma != nullptr || a.dbeta != nullptr;
}

template <int MOST, typename T>
void forward_in_registers(const NormForwardArgs<T>& a, Stream stream) {
  if (a.C == 0) return;
  launch("layer_norm2d_forward", layer_norm2d_forward_in_registers<MOST, T>,
         {blocks_for(a.N * a.S, kPixelThreads), kPixelThreads, 0, stream}, a,
         static_cast<Arithmetic<T>>(a.eps));
}

template <typename T>
void backward_in_registers(const NormBackwardArgs<T>& a, Stream stream) {
  using A = Arithmetic<T>;
  constexpr std::int64_t kThreads = 1 << 17;  // busy, and no more partials than that makes
  const std::int64_t pixels = a.N * a.S, strips = std::max<std::int64_t>(1, blocks_for(pixels, kThreads));
  const std::int64_t blocks = blocks_for(pixels, strips * kPixelThreads);
  ParameterPartials<A> partials{nullptr, blocks, a.C};
  if (parameters_wanted(a)) {
    const std::int64_t bytes = ParameterPartials<A>::bytes(blocks, a.C);
    partials.sums = static_cast<A*>(workspace(stream, bytes));
  }
  launch("layer_norm2d_backward_held", layer_norm2d_backward_in_registers<T>,
         {blocks, kPixelThreads, 0, stream}, a, strips, partials);
  finalize_parameters(a.dgamma, a.dbeta, partials, stream);
}

/// dx by a thread a pixel, then chunks of the channels for dgamma and dbeta.
template <int V, typename T>
void backward_in_two(const NormBackwardArgs<T>& a, Stream stream) {
  using A = Arithmetic<T>;
  constexpr int kElements = 32 / static_cast<int>(sizeof(A));
  const ChannelChunks chunks(a.N, a.C, a.S, kElements, V);
  const std::int64_t pixels = a.N * a.S;
  const std::int64_t bytes = pixels * static_cast<std::int64_t>(sizeof(A));
  A* const rest =
      static_cast<A*>(workspace(stream, bytes + ParameterPartials<A>::bytes(chunks.per_channel, a.C)));
  const ParameterPartials<A> partials{rest + pixels, chunks.per_channel, a.C};
  run_set_norm_input_gradient<ThreadGroup>("layer_norm2d_backward", a, Pixels::of(a), rest, stream);
  if (!parameters_wanted(a)) return;
  launch("layer_norm2d_parameter_partials", layer_norm2d_parameter_partials<V, kElements / V, T>,
         {chunks.blocks(), kChunkThreads, 0, stream}, a, rest, chunks, partials);
  finalize_parameters(a.dgamma, a.dbeta, partials, stream);
}

}  // namespace

// --- ladders -----------------------------------------------------------------------------------------------

template <typename T>
Ladder<NormForwardArgs<T>> layer_norm2d_forward_variants() {
  using Args = NormForwardArgs<T>;
  static constexpr Variant<Args> kLadder[] = {
      {"plain", "a thread a pixel, read three times: neighbouring threads read neighbours",
       [](const Args&) { return true; },
       [](const Args& a, Stream s) {
         if (a.C > 0) run_set_norm_forward<ThreadGroup>("layer_norm2d_forward", a, Pixels::of(a), s);
       }},
      {"held_64", "a pixel held in registers, up to 64 channels: read once",
       [](const Args& a) { return a.C <= 64; }, forward_in_registers<64, T>},
      {"held_16", "held_64 with 16 channels: more threads fit on a multiprocessor",
       [](const Args& a) { return a.C <= 16; }, forward_in_registers<16, T>},
  };
  return kLadder;
}

template <typename T>
Ladder<NormBackwardArgs<T>> layer_norm2d_backward_variants() {
  using Args = NormBackwardArgs<T>;
  static constexpr int V = kVector<T>;
  static constexpr Variant<Args> kLadder[] = {
      {"plain", "a thread a pixel for dx, then a thread a channel for dgamma and dbeta",
       [](const Args&) { return true; },
       [](const Args& a, Stream s) {
         run_set_norm_backward<ThreadGroup>("layer_norm2d_backward", a, Pixels::of(a), s);
       }},
      {"two_kernels", "many blocks a channel for dgamma and dbeta, whose partial sums are added",
       [](const Args&) { return true; }, backward_in_two<1, T>},
      {"two_kernels_vec", "two_kernels, 16 bytes an access for dgamma and dbeta",
       [](const Args& a) { return a.S % V == 0 && are_aligned(a.dy, a.x, a.mean, a.rstd); },
       backward_in_two<V, T>},
      {"held", "one kernel: pixels in registers with the sums of dgamma and dbeta, up to 16 channels",
       [](const Args& a) { return a.C <= kFewChannels; }, backward_in_registers<T>},
  };
  return kLadder;
}

#define EK_INSTANTIATE(T)                                              \
  template Ladder<NormForwardArgs<T>> layer_norm2d_forward_variants(); \
  template Ladder<NormBackwardArgs<T>> layer_norm2d_backward_variants();
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
EK_INSTANTIATE(bf16)
EK_INSTANTIATE(f16)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cuda
