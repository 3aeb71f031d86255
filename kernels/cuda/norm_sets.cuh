// The four normalizations as partitions of x, for set_norm.cuh: which elements share statistics, and which
// share gamma and beta. of(args) takes the args of either pass.
#pragma once

#include "evenkeel/kernels/cuda/set_norm.cuh"

namespace evenkeel::cuda {

/// Layer norm: the rows of x [N, C, S] as sets, with a parameter a column.
struct Rows {
  std::int64_t count, per_set, parameters, per_parameter;

  struct Row {
    std::int64_t first;
    __device__ __forceinline__ std::int64_t offset(std::int64_t k) const { return first + k; }
    __device__ __forceinline__ std::int64_t parameter(std::int64_t k) const { return k; }
  };
  struct Column {
    std::int64_t d, D;
    __device__ __forceinline__ std::int64_t offset(std::int64_t k) const { return k * D + d; }
    __device__ __forceinline__ std::int64_t set(std::int64_t k) const { return k; }
  };
  __device__ __forceinline__ Row set(std::int64_t m) const { return {m * per_set}; }
  __device__ __forceinline__ Column parameter(std::int64_t d) const { return {d, per_set}; }

  template <typename Args>
  static Rows of(const Args& a) {
    return {a.rows(), a.S, a.S, a.rows()};
  }
};

/// Group norm: the groups of x [N, C, S] as sets, with a parameter a channel.
struct Groups {
  std::int64_t count, per_set, parameters, per_parameter;
  std::int64_t S, G, channels;

  struct Group {
    std::int64_t first, first_channel, S;
    __device__ __forceinline__ std::int64_t offset(std::int64_t k) const { return first + k; }
    __device__ __forceinline__ std::int64_t parameter(std::int64_t k) const {
      return first_channel + divide(k, S).quotient;
    }
  };
  struct Channel : ChannelElements {
    std::int64_t G, g;
    __device__ __forceinline__ std::int64_t set(std::int64_t k) const {
      return divide(k, S).quotient * G + g;
    }
  };
  __device__ __forceinline__ Group set(std::int64_t i) const { return {i * per_set, i % G * channels, S}; }
  __device__ __forceinline__ Channel parameter(std::int64_t c) const {
    return {{parameters, S, c}, G, c / channels};
  }

  template <typename Args>
  static Groups of(const Args& a) {
    const std::int64_t channels = a.C / a.G;
    return {a.N * a.G, channels * a.S, a.C, a.N * a.S, a.S, a.G, channels};
  }
};

/// Batch norm: the channels of x [N, C, S] as sets, each with its own parameter.
struct Channels {
  std::int64_t count, per_set, parameters, per_parameter;
  std::int64_t S;

  struct Channel : ChannelElements {
    __device__ __forceinline__ std::int64_t parameter(std::int64_t) const { return c; }
    __device__ __forceinline__ std::int64_t set(std::int64_t) const { return c; }
  };
  __device__ __forceinline__ Channel set(std::int64_t c) const { return {{count, S, c}}; }
  __device__ __forceinline__ Channel parameter(std::int64_t c) const { return {{count, S, c}}; }

  template <typename Args>
  static Channels of(const Args& a) {
    return {a.C, a.N * a.S, a.C, a.N * a.S, a.S};
  }
};

/// Where the first channel of pixel i of [N, S] is in x [N, C, S]; the others follow S apart.
__device__ __forceinline__ std::int64_t pixel_offset(std::int64_t i, std::int64_t C, std::int64_t S) {
  const Division d = divide(i, S);
  return d.quotient * C * S + d.remainder;
}

/// Layer norm over channels: the channels of each pixel of x [N, C, S] as sets, with a parameter a channel.
struct Pixels {
  std::int64_t count, per_set, parameters, per_parameter;
  std::int64_t S;

  struct Pixel {
    std::int64_t first, S;
    __device__ __forceinline__ std::int64_t offset(std::int64_t c) const { return first + c * S; }
    __device__ __forceinline__ std::int64_t parameter(std::int64_t c) const { return c; }
  };
  struct Channel : ChannelElements {
    __device__ __forceinline__ std::int64_t set(std::int64_t k) const { return k; }
  };
  __device__ __forceinline__ Pixel set(std::int64_t i) const { return {pixel_offset(i, per_set, S), S}; }
  __device__ __forceinline__ Channel parameter(std::int64_t c) const { return {{per_set, S, c}}; }

  template <typename Args>
  static Pixels of(const Args& a) {
    return {a.N * a.S, a.C, a.C, a.N * a.S, a.S};
  }
};

}  // namespace evenkeel::cuda
