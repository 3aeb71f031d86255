// What follows a convolution in a fused block, for one image: device functions for a whole thread block, on
// the way into the next convolution's tile. The way back is in epilogue_backward.cuh.
#pragma once

#include "evenkeel/kernels/cuda/fused_block_conv.cuh"
#include "evenkeel/kernels/cuda/norm.cuh"
#include "evenkeel/kernels/fused_block.h"

namespace evenkeel::cuda {

/// An element of an image [C, H W].
struct ImageElement {
  int e, c, s;
};

/// An Epilogue as kernels take it, with the divisors of its sizes.
template <typename T>
struct DeviceEpilogue : Epilogue<T> {
  Divisor by_pixels, by_W, by_pooled_W, by_pooled_H, by_window, by_set, by_group;

  DeviceEpilogue() = default;
  EK_HOST_DEVICE explicit DeviceEpilogue(const Epilogue<T>& t)
      : Epilogue<T>(t),
        by_pixels(at_least_1(t.H * t.W)),
        by_W(at_least_1(t.W)),
        by_pooled_W(at_least_1(t.pooled_width())),
        by_pooled_H(at_least_1(t.pooled_height())),
        by_window(t.window),
        by_set(at_least_1(t.set_size)),
        by_group(t.norm == NormPartition::group ? t.C / t.sets : 1) {}

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
      case NormPartition::group:
        return by_group.quotient(at.c);
      case NormPartition::rows:
        return by_set.quotient(at.e);
      case NormPartition::pixels:
        return at.s;
      default:
        return at.c;
    }
  }
  __device__ __forceinline__ int parameter_of(const ImageElement& at, int set) const {
    return this->norm == NormPartition::rows ? at.e - set * this->set_size : at.c;
  }
  __device__ __forceinline__ T gamma_at(int i) const {
    return this->block.gamma != nullptr ? this->block.gamma[i] : T(1);
  }
  __device__ __forceinline__ T beta_at(int i) const {
    return this->block.beta != nullptr ? this->block.beta[i] : T(0);
  }
  /// The input of the norm from an element of z.
  __device__ __forceinline__ T norm_input(T value) const {
    return this->relu_first && value < T(0) ? T(0) : value;
  }
  /// dropout's 1 / (1 - p).
  __device__ __forceinline__ T kept_scale() const { return static_cast<T>(1 / (1 - this->p)); }
};

/// An epilogue at work on one image, whose z and statistics it has.
template <typename T>
struct EpilogueImage {
  const DeviceEpilogue<T>& epilogue;
  const T* z;
  const FusedStatistics<T>* statistics;

  __device__ __forceinline__ EpilogueImage(const DeviceEpilogue<T>& t, const T* z_of_image,
                                           const FusedStatistics<T>* of_z)
      : epilogue(t), z(z_of_image), statistics(of_z) {}
  /// Image n; statistics from memory, or for batch norm those that a block has merged.
  __device__ __forceinline__ EpilogueImage(const DeviceEpilogue<T>& t, std::int64_t n,
                                           const FusedStatistics<T>* merged)
      : epilogue(t),
        z(t.z + n * t.elements()),
        statistics(merged != nullptr                ? merged
                   : t.norm == NormPartition::batch ? t.statistics
                                                    : t.statistics + n * t.sets) {}

  __device__ __forceinline__ T xhat(T value, int set) const {
    const FusedStatistics<T> of = statistics[set];
    return SetStatistics<T>{{of.high, of.low}, of.spread}.xhat(value);
  }
  /// The norm's output, before the second relu.
  __device__ __forceinline__ T norm_output(const ImageElement& at) const {
    const T value = epilogue.norm_input(z[at.e]);
    if (epilogue.norm == NormPartition::none) return value;
    const int set = epilogue.set_of(at), i = epilogue.parameter_of(at, set);
    return scaled_and_shifted(xhat(value, set), epilogue.gamma_at(i), epilogue.beta_at(i));
  }
  /// The input of the pooling.
  __device__ __forceinline__ T output(const ImageElement& at) const {
    const T u = norm_output(at);
    return epilogue.relu && u < T(0) ? T(0) : u;
  }
  /// Calls f(element) for the window of pooled element i, in rows.
  template <typename F>
  __device__ __forceinline__ void for_each_in_window(int i, const F& f) const {
    int c = i;
    const int w = epilogue.by_pooled_W.take_remainder(c), h = epilogue.by_pooled_H.take_remainder(c);
    for (int r = 0; r < epilogue.window; ++r) {
      for (int q = 0; q < epilogue.window; ++q) {
        const int s = (h * epilogue.window + r) * epilogue.W + w * epilogue.window + q;
        f(ImageElement{c * epilogue.pixels() + s, c, s});
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
  /// Element i of the epilogue's result before dropout.
  __device__ __forceinline__ T pooled(int i) const {
    if (epilogue.pool == FusedPool::none) return output(epilogue.element(i));
    T value = 0;
    if (epilogue.pool == FusedPool::max) {
      largest_in_window(i, value);
      return value;
    }
    for_each_in_window(i, [&](const ImageElement& at) { value += output(at); });
    return value / static_cast<T>(epilogue.window * epilogue.window);
  }
};

/// Zeroes or scales the elements at(i), i < count, of image n in place, and forward and backward alike: a
/// thread has the four elements of a Philox block. Call: all threads, between barriers.
template <typename T, typename At>
__device__ __forceinline__ void drop(const DeviceEpilogue<T>& epilogue, std::int64_t n, int count,
                                     const At& at) {
  const std::int64_t first = n * count;
  const int shift = static_cast<int>(first % 4);
  const float p = static_cast<float>(epilogue.p);
  const T scale = epilogue.kept_scale();
  for (int block = block_thread(); 4 * block < count + shift; block += block_threads()) {
    const auto bits = philox(epilogue.key, static_cast<std::uint64_t>(first / 4 + block));
    EK_UNROLL
    for (int j = 0; j < 4; ++j) {
      const int i = 4 * block + j - shift;
      if (i < 0 || i >= count) continue;
      T& value = at(i);
      value = unit_interval(bits[j]) >= p ? value * scale : T(0);
    }
  }
}

/// The epilogue's result for image n of a batch into a tile. Call: all threads; a barrier must follow. Bytes:
/// z once.
template <typename T>
__device__ __forceinline__ void fill_from_epilogue(T* tile, const TileShape& to,
                                                   const EpilogueImage<T>& image, std::int64_t n) {
  const DeviceEpilogue<T>& epilogue = image.epilogue;
  fill(tile, to, to.planes, [&](int i) { return image.pooled(i); });
  if (epilogue.p == 0) return;
  __syncthreads();
  drop(epilogue, n, epilogue.pooled_elements(), [&](int i) -> T& {
    int c = i;
    const int w = epilogue.by_pooled_W.take_remainder(c), h = epilogue.by_pooled_H.take_remainder(c);
    return tile[c * to.plane() + to.first() + h * to.pitch() + w];
  });
}

/// f(threads, m) for m < sets, by thread groups that suit sets of `size` elements: each thread or each warp
/// has a set, or the block takes one after the other. Call: all threads. Order of sums: depends on sizes
/// alone.
template <typename F>
__device__ __forceinline__ void for_each_set(int sets, int size, const F& f) {
  const int thread = block_thread(), warps = block_threads() / kWarp;
  if (size <= kWarp || sets >= block_threads() / 2) {
    for (int m = thread; m < sets; m += block_threads()) f(ThreadGroup{}, m);
  } else if (sets >= warps) {
    for (int m = thread / kWarp; m < sets; m += warps) f(LaneGroup{kWarp}, m);
  } else {
    for (int m = 0; m < sets; ++m) f(BlockGroup{}, m);
  }
}

/// out = the statistics [sets] of an image's z [C, H W] that its epilogue will need: moments for batch norm.
/// Call: all threads, after a barrier. Bytes: 3 sizeof(T) a set.
template <typename T>
__device__ __forceinline__ void store_statistics(const DeviceEpilogue<T>& epilogue, const T* z,
                                                 FusedStatistics<T>* out) {
  const bool batch = epilogue.norm == NormPartition::batch;
  if (epilogue.norm == NormPartition::none || (batch && !epilogue.training)) return;
  const bool across = epilogue.norm == NormPartition::pixels;
  const int size = epilogue.set_size, step = across ? epilogue.pixels() : 1;
  const Count<T> count(size);
  const T eps = static_cast<T>(epilogue.eps);
  for_each_set(epilogue.sets, size, [&](const auto& threads, int m) {
    const T* const set = z + (across ? m : m * size);
    const Moments<T> of = moments(threads, count, epilogue.norm_input(set[0]), [&](const auto& f) {
      for (int j = threads.rank(); j < size; j += threads.size()) f(epilogue.norm_input(set[j * step]));
    });
    if (threads.rank() == 0) out[m] = {of.mean.high, of.mean.low, batch ? of.m2 : of.rstd(count, eps)};
  });
}

/// The statistics of channel c over the batch from the moments of its images (Chan, Golub and LeVeque, 1979),
/// as offsets from the first image's mean; `m2` their sum of squared distances. Call: a whole warp.
template <typename T>
__device__ __forceinline__ SplitMean<T> merge_moments(const DeviceEpilogue<T>& t, int c, T& m2) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const FusedStatistics<T>* const of = t.moments + c;
  const auto offset = [&](std::int64_t n) {
    return (of[n * t.C].high - of[0].high) + (of[n * t.C].low - of[0].low);
  };
  T mean = 0;
  for (std::int64_t n = lane; n < t.N; n += kWarp) mean += offset(n);
  mean = lane_sum(mean) / static_cast<T>(t.N);
  m2 = 0;
  for (std::int64_t n = lane; n < t.N; n += kWarp) {
    const T d = offset(n) - mean;
    m2 += squares_about(of[n * t.C].spread, static_cast<T>(t.set_size), d);
  }
  m2 = lane_sum(m2);
  return two_sum(of[0].high, of[0].low + mean);
}

/// Batch norm's statistics [C] into shared memory, by every block for itself; the first stores them in
/// t.statistics, unless that is null, and moves the running ones. Call: all threads; a barrier must follow.
/// Bytes: 3 N C sizeof(T), from the L2 cache.
template <typename T>
__device__ __forceinline__ void merge_statistics(const DeviceEpilogue<T>& t, FusedStatistics<T>* merged,
                                                 bool is_first) {
  const int thread = block_thread();
  const T eps = static_cast<T>(t.eps), momentum = static_cast<T>(t.momentum);
  for (int c = thread / kWarp; c < t.C; c += block_threads() / kWarp) {
    FusedStatistics<T> of;
    if (t.training) {
      const Count<T> count(t.N * t.set_size);
      T m2 = 0;
      const SplitMean<T> mean = merge_moments(t, c, m2);
      of = {mean.high, mean.low, Moments<T>{mean, m2}.rstd(count, eps)};
      if (is_first && thread % kWarp == 0 && t.block.running_mean != nullptr) {
        t.block.running_mean[c] = moved_average(t.block.running_mean[c], mean.high, momentum);
        t.block.running_var[c] = moved_average(t.block.running_var[c], m2 / (count.n - 1), momentum);
      }
    } else {
      of = {t.block.running_mean[c], T(0), rstd_of(t.block.running_var[c], eps)};
    }
    if (thread % kWarp != 0) continue;
    merged[c] = of;
    if (is_first && t.statistics != nullptr) t.statistics[c] = of;
  }
  if (is_first && thread == 0 && t.training && t.block.batches_tracked != nullptr) ++*t.block.batches_tracked;
}

}  // namespace evenkeel::cuda
