// What follows a convolution of a chain, for one image: device functions for a whole block, forward on the
// way into the next convolution's tile, backward from the gradient of that tile.
#pragma once

#include "evenkeel/kernels/cuda/fused_block_conv.cuh"
#include "evenkeel/kernels/cuda/norm.cuh"
#include "evenkeel/kernels/fused_block.h"

namespace evenkeel::cuda {

/// An element of an image [C, H W].
struct ImageElement {
  int e, c, s;
};

/// A ChainTail as kernels take it.
template <typename T>
struct Tail : ChainTail<T> {
  Divisor by_pixels, by_W, by_pooled_W, by_pooled_H, by_window, by_set, by_group;

  Tail() = default;
  EK_HOST_DEVICE explicit Tail(const ChainTail<T>& t)
      : ChainTail<T>(t),
        by_pixels(at_least_1(t.H * t.W)),
        by_W(at_least_1(t.W)),
        by_pooled_W(at_least_1(t.pooled_width())),
        by_pooled_H(at_least_1(t.pooled_height())),
        by_window(t.window),
        by_set(at_least_1(t.set_size)),
        by_group(t.norm == ChainNorm::group ? t.C / t.sets : 1) {}

  EK_HOST_DEVICE static int at_least_1(int n) { return n > 0 ? n : 1; }
  __device__ __forceinline__ int pixels() const { return this->H * this->W; }
  __device__ __forceinline__ int elements() const { return this->C * pixels(); }
  __device__ __forceinline__ int pooled_elements() const {
    return this->C * this->pooled_height() * this->pooled_width();
  }
  __device__ __forceinline__ ImageElement element(int e) const {
    int c = e;
    const int s = by_pixels.take_remainder(c);
    return {e, c, s};
  }
  /// The set of an element among those of its image, and its parameter.
  __device__ __forceinline__ int set_of(const ImageElement& at) const {
    switch (this->norm) {
      case ChainNorm::group:
        return by_group.quotient(at.c);
      case ChainNorm::rows:
        return by_set.quotient(at.e);
      case ChainNorm::pixels:
        return at.s;
      default:
        return at.c;
    }
  }
  __device__ __forceinline__ int parameter_of(const ImageElement& at, int set) const {
    return this->norm == ChainNorm::rows ? at.e - set * this->set_size : at.c;
  }
  __device__ __forceinline__ T gamma_at(int i) const {
    return this->gamma != nullptr ? this->gamma[i] : T(1);
  }
  __device__ __forceinline__ T beta_at(int i) const { return this->beta != nullptr ? this->beta[i] : T(0); }
  /// What is normalised, of an element of z.
  __device__ __forceinline__ T norm_input(T value) const {
    return this->relu_first && value < T(0) ? T(0) : value;
  }
  /// dropout's 1 / (1 - p).
  __device__ __forceinline__ T kept_scale() const { return static_cast<T>(1 / (1 - this->p)); }
};

/// A tail at work on one image, whose z and statistics it has.
template <typename T>
struct TailImage {
  const Tail<T>& tail;
  const T* z;
  const ChainStatistics<T>* statistics;

  __device__ __forceinline__ TailImage(const Tail<T>& t, const T* z_of_image, const ChainStatistics<T>* of_z)
      : tail(t), z(z_of_image), statistics(of_z) {}
  /// Image n; statistics from memory, or for batch norm those that a block has merged.
  __device__ __forceinline__ TailImage(const Tail<T>& t, std::int64_t n, const ChainStatistics<T>* merged)
      : tail(t),
        z(t.z + n * t.elements()),
        statistics(merged != nullptr            ? merged
                   : t.norm == ChainNorm::batch ? t.statistics
                                                : t.statistics + n * t.sets) {}

  __device__ __forceinline__ T xhat(T value, int set) const {
    const ChainStatistics<T> of = statistics[set];
    return SetStatistics<T>{{of.high, of.low}, of.spread}.xhat(value);
  }
  /// The norm's output, before the second relu.
  __device__ __forceinline__ T norm_output(const ImageElement& at) const {
    const T value = tail.norm_input(z[at.e]);
    if (tail.norm == ChainNorm::none) return value;
    const int set = tail.set_of(at), i = tail.parameter_of(at, set);
    return scaled_and_shifted(xhat(value, set), tail.gamma_at(i), tail.beta_at(i));
  }
  /// What is pooled.
  __device__ __forceinline__ T output(const ImageElement& at) const {
    const T u = norm_output(at);
    return tail.relu && u < T(0) ? T(0) : u;
  }
  /// Calls f(element) for the window of pooled element i, in rows.
  template <typename F>
  __device__ __forceinline__ void for_each_in_window(int i, const F& f) const {
    int c = i;
    const int w = tail.by_pooled_W.take_remainder(c), h = tail.by_pooled_H.take_remainder(c);
    for (int r = 0; r < tail.window; ++r) {
      for (int q = 0; q < tail.window; ++q) {
        const int s = (h * tail.window + r) * tail.W + w * tail.window + q;
        f(ImageElement{c * tail.pixels() + s, c, s});
      }
    }
  }
  /// The largest element of a window: the first of equals, and the last NaN, as max_pool2d.
  __device__ __forceinline__ int largest_in_window(int i, T& largest) const {
    int index = -1;
    for_each_in_window(i, [&](const ImageElement& at) {
      const T value = output(at);
      if (index < 0 || value > largest || value != value) {
        largest = value;
        index = at.e;
      }
    });
    return index;
  }
  /// Element i of the tail's result, but for dropout.
  __device__ __forceinline__ T pooled(int i) const {
    if (tail.pool == ChainPool::none) return output(tail.element(i));
    T value = 0;
    if (tail.pool == ChainPool::max) {
      largest_in_window(i, value);
      return value;
    }
    for_each_in_window(i, [&](const ImageElement& at) { value += output(at); });
    return value / static_cast<T>(tail.window * tail.window);
  }
};

/// Zeroes or scales the elements at(i), i < count, of image n in place, and forward and backward alike: a
/// thread has the four elements of a Philox block. Call: all threads, between barriers.
template <typename T, typename At>
__device__ __forceinline__ void drop(const Tail<T>& tail, std::int64_t n, int count, const At& at) {
  const std::int64_t first = n * count;
  const int shift = static_cast<int>(first % 4);
  const float p = static_cast<float>(tail.p);
  const T scale = tail.kept_scale();
  for (int block = block_thread(); 4 * block < count + shift; block += block_threads()) {
    const auto bits = philox(tail.key, static_cast<std::uint64_t>(first / 4 + block));
    EK_UNROLL
    for (int j = 0; j < 4; ++j) {
      const int i = 4 * block + j - shift;
      if (i < 0 || i >= count) continue;
      T& value = at(i);
      value = unit_interval(bits[j]) >= p ? value * scale : T(0);
    }
  }
}

/// The tail's result for image n of a batch into a tile. Call: all threads; a barrier must follow. Bytes: z
/// once.
template <typename T>
__device__ __forceinline__ void fill_from_tail(T* tile, const TileShape& to, const TailImage<T>& image,
                                               std::int64_t n) {
  const Tail<T>& tail = image.tail;
  fill(tile, to, to.planes, [&](int i) { return image.pooled(i); });
  if (tail.p == 0) return;
  __syncthreads();
  drop(tail, n, tail.pooled_elements(), [&](int i) -> T& {
    int c = i;
    const int w = tail.by_pooled_W.take_remainder(c), h = tail.by_pooled_H.take_remainder(c);
    return tile[c * to.plane() + to.first() + h * to.pitch() + w];
  });
}

/// f(team, m) for m < sets, by teams that suit sets of `size` elements: threads, warps, or the block one
/// after the other. Call: all threads. Order of sums: depends on sizes alone.
template <typename F>
__device__ __forceinline__ void for_each_set(int sets, int size, const F& f) {
  const int thread = block_thread(), warps = block_threads() / kWarp;
  if (size <= kWarp || sets >= block_threads() / 2) {
    for (int m = thread; m < sets; m += block_threads()) f(ThreadTeam{}, m);
  } else if (sets >= warps) {
    for (int m = thread / kWarp; m < sets; m += warps) f(LaneTeam{kWarp}, m);
  } else {
    for (int m = 0; m < sets; ++m) f(BlockTeam{}, m);
  }
}

/// out = the statistics [sets] of an image's z [C, H W] that its tail will want: moments for batch norm.
/// Call: all threads, after a barrier. Bytes: 3 sizeof(T) a set.
template <typename T>
__device__ __forceinline__ void leave_statistics(const Tail<T>& tail, const T* z, ChainStatistics<T>* out) {
  const bool batch = tail.norm == ChainNorm::batch;
  if (tail.norm == ChainNorm::none || (batch && !tail.training)) return;
  const bool across = tail.norm == ChainNorm::pixels;
  const int size = tail.set_size, step = across ? tail.pixels() : 1;
  const Count<T> count(size);
  const T eps = static_cast<T>(tail.eps);
  for_each_set(tail.sets, size, [&](const auto& team, int m) {
    const T* const set = z + (across ? m : m * size);
    const Moments<T> of = moments(team, count, tail.norm_input(set[0]), [&](const auto& f) {
      for (int j = team.rank(); j < size; j += team.size()) f(tail.norm_input(set[j * step]));
    });
    if (team.rank() == 0) out[m] = {of.mean.high, of.mean.low, batch ? of.m2 : of.rstd(count, eps)};
  });
}

/// The statistics of channel c over the batch from the moments of its images (Chan, Golub and LeVeque, 1979),
/// as offsets from the first image's mean; `m2` their sum of squared distances. Call: a whole warp.
template <typename T>
__device__ __forceinline__ SplitMean<T> merge_moments(const Tail<T>& t, int c, T& m2) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const ChainStatistics<T>* const of = t.moments + c;
  const auto offset = [&](std::int64_t n) {
    return (of[n * t.C].high - of[0].high) + (of[n * t.C].low - of[0].low);
  };
  T mean = 0;
  for (std::int64_t n = lane; n < t.N; n += kWarp) mean += offset(n);
  mean = lane_sum(mean) / static_cast<T>(t.N);
  m2 = 0;
  for (std::int64_t n = lane; n < t.N; n += kWarp) {
    const T d = offset(n) - mean;
    m2 += of[n * t.C].spread + static_cast<T>(t.set_size) * d * d;
  }
  m2 = lane_sum(m2);
  return two_sum(of[0].high, of[0].low + mean);
}

/// Batch norm's statistics [C] into shared memory, by every block for itself; the first leaves them in
/// t.statistics, unless that is null, and moves the running ones. Call: all threads; a barrier must follow.
/// Bytes: 3 N C sizeof(T), from the L2 cache.
template <typename T>
__device__ __forceinline__ void merge_statistics(const Tail<T>& t, ChainStatistics<T>* merged,
                                                 bool is_first) {
  const int thread = block_thread();
  const T eps = static_cast<T>(t.eps), momentum = static_cast<T>(t.momentum);
  for (int c = thread / kWarp; c < t.C; c += block_threads() / kWarp) {
    ChainStatistics<T> of;
    if (t.training) {
      const Count<T> count(t.N * t.set_size);
      T m2 = 0;
      const SplitMean<T> mean = merge_moments(t, c, m2);
      of = {mean.high, mean.low, Moments<T>{mean, m2}.rstd(count, eps)};
      if (is_first && thread % kWarp == 0 && t.running_mean != nullptr) {
        t.running_mean[c] = moved_average(t.running_mean[c], mean.high, momentum);
        t.running_var[c] = moved_average(t.running_var[c], m2 / (count.n - 1), momentum);
      }
    } else {
      of = {t.running_mean[c], T(0), T(1) / std::sqrt(t.running_var[c] + eps)};
    }
    if (thread % kWarp != 0) continue;
    merged[c] = of;
    if (is_first && t.statistics != nullptr) t.statistics[c] = of;
  }
  if (is_first && thread == 0 && t.training && t.batches_tracked != nullptr) ++*t.batches_tracked;
}

}  // namespace evenkeel::cuda
