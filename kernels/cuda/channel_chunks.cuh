// Walks over the elements of each channel of x [N, C, S], a block a chunk of a channel.
#pragma once

#include "evenkeel/kernels/cuda/set_norm.cuh"

namespace evenkeel::cuda {

inline constexpr int kChunkThreads = 256;

/// The N*S elements of each channel of x [N, C, S], cut into chunks of a block each: kChunkThreads threads
/// with K vectors of V elements. Blocks are numbered [chunk, channel], so that neighbours read neighbouring
/// planes.
struct ChannelChunks {
  std::int64_t C, S, count;        // count: elements a channel
  std::int64_t size, per_channel;  // elements a chunk, chunks a channel
  std::int64_t step_n, step_s;     // from one vector of a thread to its next

  ChannelChunks(std::int64_t N, std::int64_t C_, std::int64_t S_, int elements, int V)
      : C(C_),
        S(S_),
        count(N * S),
        size(std::int64_t{kChunkThreads} * elements),
        per_channel(blocks_for(count, size)) {
    step_n = S > 0 ? std::int64_t{kChunkThreads} * V / S : 0;
    step_s = S > 0 ? std::int64_t{kChunkThreads} * V % S : 0;
  }
  std::int64_t blocks() const { return C * per_channel; }
  __device__ __forceinline__ std::int64_t elements_of(std::int64_t chunk) const {
    return min(size, count - chunk * size);
  }
};

/// Where this thread's K vectors of its block's chunk are in x.
template <int V, int K>
struct ChunkPlace {
  std::int64_t channel, chunk;
  std::int64_t at[K];  // -1: past the end

  __device__ __forceinline__ explicit ChunkPlace(const ChannelChunks& c)
      : channel(blockIdx.x % static_cast<unsigned>(c.C)), chunk(blockIdx.x / static_cast<unsigned>(c.C)) {
    std::int64_t e = first_ = chunk * c.size + static_cast<int>(threadIdx.x) * V;
    auto [n, s] = divide(e, c.S);
    EK_UNROLL
    for (int k = 0; k < K; ++k) {
      at[k] = e < c.count ? (n * c.C + channel) * c.S + s : -1;
      e += kChunkThreads * V;
      n += c.step_n;
      s += c.step_s;
      if (s >= c.S) {
        s -= c.S;
        ++n;
      }
    }
  }
  /// The place in [N, S] of vector k.
  __device__ __forceinline__ std::int64_t pixel(int k) const {
    return first_ + std::int64_t{k} * kChunkThreads * V;
  }
  /// The vectors of p, zeros past the end.
  template <typename T>
  __device__ __forceinline__ void load_from(const T* p, Vector<T, V> (&values)[K]) const {
    EK_UNROLL
    for (int k = 0; k < K; ++k) values[k] = at[k] >= 0 ? load<V>(p + at[k]) : Vector<T, V>{};
  }

 private:
  std::int64_t first_;
};

}  // namespace evenkeel::cuda
