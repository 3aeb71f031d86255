// The way back through an epilogue, for one image: device functions for a whole thread block.
#pragma once

#include "evenkeel/kernels/cuda/epilogue.cuh"

namespace evenkeel::cuda {

/// The sums that an epilogue's backward shares between the threads of a block, in shared memory: of a
/// channel, dnorm xhat and dnorm; of a set, gamma dnorm xhat and gamma dnorm.
template <typename T>
struct EpilogueSums {
  T *channel, *set;  // [2, C], [2, sets]

  EK_HOST_DEVICE static int elements(const Epilogue<T>& t) { return 2 * (t.C + t.sets); }
};

/// Backward of an epilogue for one image, from dx, the gradient of the epilogue's result but for dropout, in
/// shared memory.
template <typename T>
struct EpilogueBackward {
  const EpilogueImage<T>& image;
  const T* dx;

  /// The gradient of the norm's output.
  __device__ __forceinline__ T dnorm(const ImageElement& at) const {
    const DeviceEpilogue<T>& t = image.epilogue;
    T d = 0;
    if (t.pool == FusedPool::none) {
      d = dx[at.e];
    } else {  // average
      int row = at.s;
      const int w = t.by_window.quotient(t.by_W.take_remainder(row)), h = t.by_window.quotient(row);
      if (h < t.pooled_height() && w < t.pooled_width()) {
        d = dx[(at.c * t.pooled_height() + h) * t.pooled_width() + w] / static_cast<T>(t.window * t.window);
      }
    }
    return t.relu && image.norm_output(at) <= T(0) ? T(0) : d;
  }
  __device__ __forceinline__ T xhat(const ImageElement& at, int set) const {
    return image.xhat(image.epilogue.norm_input(image.z[at.e]), set);
  }

  /// Sums over the pixels of each channel.
  __device__ __forceinline__ void channel_sums(T* sums) const {
    const DeviceEpilogue<T>& t = image.epilogue;
    for_each_set(t.C, t.pixels(), [&](const auto& threads, int c) {
      T with_xhat = 0, alone = 0;
      for (int s = threads.rank(); s < t.pixels(); s += threads.size()) {
        const ImageElement at{c * t.pixels() + s, c, s};
        const T d = dnorm(at);
        with_xhat += d * xhat(at, t.set_of(at));
        alone += d;
      }
      threads.sum(with_xhat, alone);
      if (threads.rank() != 0) return;
      sums[c] = with_xhat;
      sums[t.C + c] = alone;
    });
  }

  /// Sums over the elements of each set, for norms over rows and pixels.
  __device__ __forceinline__ void set_sums(T* sums) const {
    const DeviceEpilogue<T>& t = image.epilogue;
    const bool across = t.norm == NormPartition::pixels;
    for_each_set(t.sets, t.set_size, [&](const auto& threads, int m) {
      T with_xhat = 0, alone = 0;
      for (int j = threads.rank(); j < t.set_size; j += threads.size()) {
        const ImageElement at =
            across ? ImageElement{j * t.pixels() + m, j, m} : t.element(m * t.set_size + j);
        const T g = t.gamma_at(j) * dnorm(at);
        with_xhat += g * xhat(at, m);
        alone += g;
      }
      threads.sum(with_xhat, alone);
      if (threads.rank() != 0) return;
      sums[m] = with_xhat;
      sums[t.sets + m] = alone;
    });
  }

  /// The same sums for sets that are groups of channels, from those of the channels.
  __device__ __forceinline__ void group_sums(T* sums, const T* of_channel) const {
    const DeviceEpilogue<T>& t = image.epilogue;
    const int channels = t.C / t.sets;
    for (int m = block_thread(); m < t.sets; m += block_threads()) {
      T with_xhat = 0, alone = 0;
      for (int c = m * channels; c < (m + 1) * channels; ++c) {
        with_xhat += t.gamma_at(c) * of_channel[c];
        alone += t.gamma_at(c) * of_channel[t.C + c];
      }
      sums[m] = with_xhat;
      sums[t.sets + m] = alone;
    }
  }

  /// The gradient of z through the norm and the first relu: rstd (g - mean(g) - xhat mean(g xhat)), g = gamma
  /// dnorm.
  __device__ __forceinline__ T dz(const ImageElement& at, T d, const T* of_set) const {
    const DeviceEpilogue<T>& t = image.epilogue;
    if (t.relu_first && image.z[at.e] <= T(0)) return T(0);
    if (t.norm == NormPartition::none) return d;
    const int set = t.set_of(at), i = t.parameter_of(at, set);
    const T inverse = T(1) / static_cast<T>(t.set_size);
    const GradientMeans<T> means{of_set[t.sets + set] * inverse, of_set[set] * inverse};
    return means.dx(t.gamma_at(i) * d, xhat(at, set), image.statistics[set].spread);
  }
};

/// Without norm, in windows that are largest-pooled: the gradient of a window goes to its largest element.
template <typename T, typename Sink>
__device__ __forceinline__ void max_pool_epilogue_backward(const EpilogueImage<T>& image, const T* dx,
                                                           const Sink& sink) {
  const DeviceEpilogue<T>& t = image.epilogue;
  for (int i = block_thread(); i < t.pooled_elements(); i += block_threads()) {
    T largest = 0;
    const int index = image.largest_in_window(i, largest);
    const T d = (t.relu || t.relu_first) && largest <= T(0) ? T(0) : dx[i];
    image.for_each_in_window(i, [&](const ImageElement& at) { sink.dz(at, at.e == index ? d : T(0)); });
  }
  const int rows = t.pooled_height() * t.window, columns = t.pooled_width() * t.window;
  if (rows == t.H && columns == t.W) return;
  for (int e = block_thread(); e < t.elements(); e += block_threads()) {
    const ImageElement at = t.element(e);
    int row = at.s;
    const int column = t.by_W.take_remainder(row);
    if (row >= rows || column >= columns) sink.dz(at, T(0));  // in no window
  }
}

/// Takes dx, the gradient of an epilogue's result but for dropout, back to z of one image, and calls
///   sink.dz(element, gradient of z)                   but for batch norm, whose needs all images,
///   sink.dnorm(element, gradient of the norm's output, xhat()),
///   sink.channel_sums(sums over pixels [2, C])        of dnorm xhat and of dnorm, if
///   sink.wants_channel_sums().
/// Call: all threads, after a barrier. Bytes: z once or twice.
template <typename T, typename Sink>
__device__ __forceinline__ void epilogue_backward(const EpilogueImage<T>& image, const T* dx,
                                                  const EpilogueSums<T>& sums, const Sink& sink) {
  const DeviceEpilogue<T>& t = image.epilogue;
  if (t.pool == FusedPool::max) return max_pool_epilogue_backward(image, dx, sink);
  const EpilogueBackward<T> backward{image, dx};
  const bool batch = t.norm == NormPartition::batch, group = t.norm == NormPartition::group;
  if (group || sink.wants_channel_sums()) {
    backward.channel_sums(sums.channel);
    __syncthreads();
  }
  if (sink.wants_channel_sums()) sink.channel_sums(sums.channel);
  if (group) backward.group_sums(sums.set, sums.channel);
  if (t.norm == NormPartition::rows || t.norm == NormPartition::pixels) backward.set_sums(sums.set);
  __syncthreads();
  for (int e = block_thread(); e < t.elements(); e += block_threads()) {
    const ImageElement at = t.element(e);
    const T d = backward.dnorm(at);
    sink.dnorm(at, d, [&] { return backward.xhat(at, t.set_of(at)); });
    if (!batch) sink.dz(at, backward.dz(at, d, sums.set));
  }
}

/// Batch norm's sums over all images, [2, C] in shared memory, by every block for itself. Call: all threads;
/// a barrier must follow. Bytes: 2 N C sizeof(T), from the L2 cache.
template <typename T>
__device__ __forceinline__ void merge_channel_sums(const DeviceEpilogue<T>& t, const T* channel_sums,
                                                   T* merged) {
  const int lane = block_thread() % kWarp;
  for (int i = block_thread() / kWarp; i < 2 * t.C; i += block_threads() / kWarp) {
    T sum = 0;
    for (std::int64_t n = lane; n < t.N; n += kWarp) sum += channel_sums[n * 2 * t.C + i];
    sum = lane_sum(sum);
    if (lane == 0) merged[i] = sum;
  }
}

/// The gradient of z through batch norm and the first relu, from dnorm and the merged sums.
template <typename T>
__device__ __forceinline__ T batch_norm_dz(const EpilogueImage<T>& image, const ImageElement& at, T dnorm,
                                           const T* merged) {
  const DeviceEpilogue<T>& t = image.epilogue;
  const T z = image.z[at.e];
  if (t.relu_first && z <= T(0)) return T(0);
  const T gamma = t.gamma_at(at.c), rstd = image.statistics[at.c].spread;
  if (!t.training) return gamma * rstd * dnorm;
  const T inverse = T(1) / static_cast<T>(t.N * t.set_size);
  const GradientMeans<T> means{gamma * merged[t.C + at.c] * inverse, gamma * merged[at.c] * inverse};
  return means.dx(gamma * dnorm, image.xhat(t.norm_input(z), at.c), rstd);
}

}  // namespace evenkeel::cuda
