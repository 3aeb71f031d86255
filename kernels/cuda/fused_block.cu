#include "evenkeel/kernels/fused_block.h"

#include <algorithm>

#include "evenkeel/kernels/cuda/epilogue_backward.cuh"

namespace evenkeel::cuda {
namespace {

/// What the kernels of one convolution share. R 0: z has the shape of x.
template <typename T>
struct FusedStep {
  ImageConv conv;
  DeviceEpilogue<T> before, after;
  bool has_before;
  const T* input;
  TileShape x_shape, dz_shape;

  template <typename Args>
  explicit FusedStep(const Args& a)
      : conv{a.C, a.H, a.W, a.K, a.R, a.pad},
        before(a.before),
        after(a.after),
        has_before(a.input == nullptr),
        input(a.input),
        x_shape(conv.x_tile()),
        dz_shape(a.R > 0 ? conv.dz_tile() : conv.x_tile()) {}

  /// Forgets what RandomKey::forget_data() forgets, in both keys.
  void forget_data() {
    before.key.forget_data();
    after.key.forget_data();
  }
};

/// x of image n into its tile, from the input or the convolution before. `merged`: batch norm's statistics,
/// where they are not in memory yet. Call: all threads; a barrier must follow. Bytes: z once.
template <typename T>
__device__ __forceinline__ void fill_x(T* tile, const FusedStep<T>& a, std::int64_t n,
                                       const FusedStatistics<T>* merged) {
  if (!a.has_before) {
    const T* const x = a.input + n * a.conv.x_elements();
    return fill(tile, a.x_shape, a.conv.C, [&](int i) { return x[i]; });
  }
  fill_from_epilogue(tile, a.x_shape, EpilogueImage<T>(a.before, n, merged), n);
}

/// Shared memory of the forward kernel, in elements: filters, x, z, merged statistics.
template <typename T>
struct ForwardMemory {
  int x, z, merged, total;
  EK_HOST_DEVICE explicit ForwardMemory(const FusedStep<T>& a) {
    x = a.conv.R > 0 ? a.conv.filter_tile() : 0;
    z = x + a.conv.x_tile().elements();
    merged = z + (a.conv.R > 0 ? a.conv.z_elements() : 0);
    total = merged + (a.before.norm == NormPartition::batch ? 3 * a.before.C : 0);
  }
};

/// An image a block: x, z and its statistics. 2 N K P Q C R R FLOP; bytes: x's z once, z once.
template <int R, int ROWS, typename T>
__global__ void __launch_bounds__(kFusedThreads, 2)
    fused_forward_kernel(const __grid_constant__ FusedStep<T> a, T* z_out) {
  SIMT_DYN_SHARED(T, shared);
  const ForwardMemory<T> at(a);
  const std::int64_t n = blockIdx.x;
  const ImageConv& s = a.conv;
  T* const x = shared + at.x;
  FusedStatistics<T>* merged = nullptr;
  if (a.has_before && a.before.norm == NormPartition::batch) {
    merged = reinterpret_cast<FusedStatistics<T>*>(shared + at.merged);
    merge_statistics(a.before, merged, blockIdx.x == 0);
    __syncthreads();
  }
  fill_x(x, a, n, merged);
  if constexpr (R == 0) {
    __syncthreads();
    for (int i = block_thread(); i < s.x_elements(); i += block_threads())
      z_out[n * s.x_elements() + i] = x[i];
  } else {
    T* const z = shared + at.z;
    load_filters<R, false>(shared, a.after.block.weight, s.C, s.K);
    __syncthreads();
    const int P = s.P(), Q = s.Q();
    T* const image = z_out + n * s.z_elements();
    convolve<R, ROWS>(x, s.x_tile().pitch(), s.x_tile().plane(), shared, s.C, s.K, P, Q,
                      [&](int k, int p, int q, T value) {
                        z[(k * P + p) * Q + q] = value;
                        image[(k * P + p) * Q + q] = value;
                      });
    __syncthreads();
    const DeviceEpilogue<T>& after = a.after;
    store_statistics(
        after, z, (after.norm == NormPartition::batch ? after.moments : after.statistics) + n * after.sets);
  }
}

/// Shared memory of the backward kernel, in elements: turned filters, dz, x and later dx, sums.
template <typename T>
struct BackwardMemory {
  int dz, x, merged, sums, total;
  EK_HOST_DEVICE explicit BackwardMemory(const FusedStep<T>& a) {
    const bool convolves = a.conv.R > 0;
    dz = convolves ? a.conv.turned_filter_tile() : 0;
    x = dz + (convolves ? a.conv.dz_tile().elements() : 0);
    merged = x + a.conv.x_tile().elements();
    sums = merged + (a.after.norm == NormPartition::batch ? 2 * a.after.C : 0);
    total = sums + (a.has_before ? EpilogueSums<T>::elements(a.before) : 0);
  }
};

/// dz of image n into its tile: dy, or what the kernel before stored. Call: all threads; a barrier must
/// follow. Bytes: dz once, and for batch norm z once.
template <typename T>
__device__ __forceinline__ void fill_dz(T* tile, T* merged, const FusedStep<T>& a, std::int64_t n,
                                        const T* dy) {
  const auto fill_from = [&](const auto& value) { fill(tile, a.dz_shape, a.conv.K, value); };
  const std::int64_t begin = n * a.conv.z_elements();
  if (dy == nullptr && a.after.norm == NormPartition::batch) {
    merge_channel_sums(a.after, a.after.channel_sums, merged);
    __syncthreads();
    const EpilogueImage<T> image(a.after, n, nullptr);
    const T* const dnorm = a.after.dnorm + begin;
    return fill_from([&](int i) { return batch_norm_dz(image, a.after.element(i), dnorm[i], merged); });
  }
  const T* const dz = (dy != nullptr ? dy : a.after.dz) + begin;
  fill_from([&](int i) { return dz[i]; });
}

/// Where the gradients of an epilogue go, in memory, of image n.
template <typename T>
struct MemorySink {
  const DeviceEpilogue<T>& t;
  std::int64_t n;

  __device__ __forceinline__ bool wants_channel_sums() const { return t.channel_sums != nullptr; }
  __device__ __forceinline__ void channel_sums(const T* sums) const {
    for (int i = block_thread(); i < 2 * t.C; i += block_threads()) t.channel_sums[n * 2 * t.C + i] = sums[i];
  }
  template <typename Xhat>
  __device__ __forceinline__ void dnorm(const ImageElement& at, T d, const Xhat&) const {
    if (t.dnorm != nullptr) t.dnorm[n * t.elements() + at.e] = d;
  }
  __device__ __forceinline__ void dz(const ImageElement& at, T d) const { t.dz[n * t.elements() + at.e] = d; }
};

/// An image a block: the gradient of the filters, and of x through the epilogue before. R 0: dy is that of x.
/// 4 N K P Q C R R FLOP; bytes: dz and x's z once each, the gradient of x's z once, a partial gradient an
/// image.
template <int R, int ROWS, typename T>
__global__ void __launch_bounds__(kFusedThreads, 2)
    fused_backward_kernel(const __grid_constant__ FusedStep<T> a, const T* dy, T* weight_partials,
                          T* dx_out) {
  SIMT_DYN_SHARED(T, shared);
  const BackwardMemory<T> at(a);
  const std::int64_t n = blockIdx.x;
  const ImageConv& s = a.conv;
  T* const x = shared + at.x;
  T* const dx = x;  // once x has been used
  const bool wants_dx = a.has_before || dx_out != nullptr;
  if constexpr (R == 0) {
    for (int i = block_thread(); i < s.x_elements(); i += block_threads()) dx[i] = dy[n * s.x_elements() + i];
  } else {
    T* const dz = shared + at.dz;
    fill_dz(dz, shared + at.merged, a, n, dy);
    fill_x<T>(x, a, n, nullptr);
    if (wants_dx) load_filters<R, true>(shared, a.after.block.weight, s.K, s.C);
    __syncthreads();
    if (weight_partials != nullptr) {
      T* const partials = weight_partials + n * s.weights();
      image_weight_gradient<R>(x, dz, s, [&](int i, T value) { partials[i] = value; });
      __syncthreads();
    }
    if (!wants_dx) return;
    const ImageTile tile = s.dz_tile();
    convolve<R, ROWS>(dz, tile.pitch(), tile.plane(), shared, s.K, s.C, s.H, s.W,
                      [&](int c, int h, int w, T value) { dx[(c * s.H + h) * s.W + w] = value; });
  }
  __syncthreads();
  if (!a.has_before) {
    for (int i = block_thread(); i < s.x_elements(); i += block_threads())
      dx_out[n * s.x_elements() + i] = dx[i];
    return;
  }
  if (a.before.p > 0) {
    drop(a.before, n, s.x_elements(), [&](int i) -> T& { return dx[i]; });
    __syncthreads();
  }
  T* const sums = shared + at.sums;
  epilogue_backward(EpilogueImage<T>(a.before, n, nullptr), dx, EpilogueSums<T>{sums, sums + 2 * a.before.C},
                    MemorySink<T>{a.before, n});
}

// --- the gradients of the parameters -----------------------------------------------------------------------

inline constexpr int kSumsTogether = 32;  // a launch: with them a kernel's parameters stay below 4 KB
inline constexpr int kSumSlices = 8;

/// The sums of one launch; sum k has the blocks from first_block[k] to first_block[k + 1].
template <typename T>
struct GradientSumBatch {
  FusedGradientSum<T> sums[kSumsTogether];
  int first_block[kSumsTogether + 1];
  int count;
};

/// 32 columns a block, in slices of rows that are added in order. Bytes: the rows once, for sums with xhat z
/// too.
template <typename T>
__global__ void __launch_bounds__(kSumSlices* kWarp)
    fused_gradient_sums_kernel(const __grid_constant__ GradientSumBatch<T> a) {
  SIMT_SHARED(T, slices, [kSumSlices][kWarp]);
  int k = 0;
  while (k + 1 < a.count && static_cast<int>(blockIdx.x) >= a.first_block[k + 1]) ++k;
  const FusedGradientSum<T>& of = a.sums[k];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, slice = static_cast<int>(threadIdx.x) / kWarp;
  const int d = (static_cast<int>(blockIdx.x) - a.first_block[k]) * kWarp + lane;
  T sum = 0;
  for (std::int64_t m = slice; d < of.D && m < of.count; m += kSumSlices) {
    T value = of.rows[m * of.stride + d];
    if (of.z != nullptr) {
      const FusedStatistics<T> s = of.statistics[m];
      const T z = of.z[m * of.stride + d], v = of.relu_first && z < T(0) ? T(0) : z;
      value *= SetStatistics<T>{{s.high, s.low}, s.spread}.xhat(v);
    }
    sum += value;
  }
  slices[slice][lane] = sum;
  __syncthreads();
  if (slice > 0 || d >= of.D) return;
  for (int other = 1; other < kSumSlices; ++other) sum += slices[other][lane];
  of.out[d] = sum;
}

// --- launchers ---------------------------------------------------------------------------------------------

/// Calls f.operator()<R, ROWS>() for filters R x R and an output [filters, P, Q]: strips of four rows where
/// those keep the block busy, else single rows.
template <typename F>
void with_shape(int R, int filters, int P, int Q, const F& f) {
  const bool tall = ImageConv::in_quads(filters) / kQuad * ((P + 3) / 4) * Q >= kFusedThreads / 2;
  if (R == 0) return f.template operator()<0, 1>();
  if (R == 1) return tall ? f.template operator()<1, 4>() : f.template operator()<1, 1>();
  return tall ? f.template operator()<3, 4>() : f.template operator()<3, 1>();
}

template <typename T>
std::int64_t bytes_of(int elements) {
  return elements * static_cast<std::int64_t>(sizeof(T));
}

}  // namespace

template <typename T>
void fused_forward(const FusedForwardArgs<T>& a, Stream stream) {
  const FusedStep<T> step(a);
  with_shape(a.R, a.K, step.conv.P(), step.conv.Q(), [&]<int R, int ROWS>() {
    launch("fused_forward", fused_forward_kernel<R, ROWS, T>,
           {a.N, kFusedThreads, bytes_of<T>(ForwardMemory<T>(step).total), stream}, step, a.z);
  });
}

template <typename T>
void fused_backward(const FusedBackwardArgs<T>& a, Stream stream) {
  const FusedStep<T> step(a);
  with_shape(a.R, a.C, a.H, a.W, [&]<int R, int ROWS>() {
    launch("fused_backward", fused_backward_kernel<R, ROWS, T>,
           {a.N, kFusedThreads, bytes_of<T>(BackwardMemory<T>(step).total), stream}, step, a.dy,
           a.weight_partials, a.dx);
  });
}

template <typename T>
void fused_gradient_sums(const FusedGradientSumsArgs<T>& a, Stream stream) {
  for (int first = 0; first < a.count; first += kSumsTogether) {
    GradientSumBatch<T> batch{};
    batch.count = std::min(kSumsTogether, a.count - first);
    for (int k = 0; k < batch.count; ++k) {
      batch.sums[k] = a.sums[first + k];
      batch.first_block[k + 1] = batch.first_block[k] + (batch.sums[k].D + kWarp - 1) / kWarp;
    }
    launch("fused_gradient_sums", fused_gradient_sums_kernel<T>,
           {batch.first_block[batch.count], kSumSlices * kWarp, 0, stream}, batch);
  }
}

template <typename T>
bool fused_block_fits(const FusedForwardArgs<T>& forward, const FusedBackwardArgs<T>& backward) {
  constexpr std::int64_t kDeclared = 4096;  // at most, of static shared memory
  const std::int64_t most = most_shared_memory() - kDeclared;
  return bytes_of<T>(ForwardMemory<T>(FusedStep<T>(forward)).total) <= most &&
         bytes_of<T>(BackwardMemory<T>(FusedStep<T>(backward)).total) <= most;
}

#define EK_INSTANTIATE(T)                                                     \
  template void fused_forward(const FusedForwardArgs<T>&, Stream);            \
  template void fused_backward(const FusedBackwardArgs<T>&, Stream);          \
  template void fused_gradient_sums(const FusedGradientSumsArgs<T>&, Stream); \
  template bool fused_block_fits(const FusedForwardArgs<T>&, const FusedBackwardArgs<T>&);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cuda
