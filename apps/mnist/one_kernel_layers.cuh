// The layers of the study's network on one image, with constant shapes, for a block that has the image in
// shared memory: device functions on top of those of kernels/cuda.
#pragma once

#include "evenkeel/apps/mnist/one_kernel_args.h"
#include "evenkeel/kernels/cuda/cluster.cuh"
#include "evenkeel/kernels/cuda/epilogue_backward.cuh"
#include "evenkeel/kernels/cuda/grid_group.cuh"
#include "evenkeel/kernels/cuda/rotate.cuh"
#include "evenkeel/kernels/cuda/softmax.cuh"
#include "evenkeel/kernels/norm_partition.h"

namespace evenkeel::mnist {

using namespace cuda;

/// The threads of a block: 16 warps with 128 registers a thread, or, where a norm needs more registers, 12
/// warps with 168.
template <NormPartition NORM>
inline constexpr int kThreadsOf = NORM == NormPartition::batch || NORM == NormPartition::pixels ? 384 : 512;

/// Sums and maxima over the blocks of the network.
namespace net {

EK_HOST_DEVICE constexpr ImageConv conv_of(int block) {
  const BlockShape& b = kNetwork[block];
  return {b.C, b.size, b.size, b.K, b.R, 0};
}
EK_HOST_DEVICE constexpr int larger(int a, int b) { return a > b ? a : b; }

/// The most sets that a norm has in an image, of which a block keeps statistics.
EK_HOST_DEVICE constexpr int most_sets(int block, NormPartition norm) {
  const BlockShape& b = kNetwork[block];
  if (!b.activated || norm == NormPartition::none) return 0;
  return norm == NormPartition::rows     ? b.K * b.output()
         : norm == NormPartition::pixels ? b.output() * b.output()
                                         : b.K;
}

/// Sums over blocks 0 ... block - 1 of the network: of elements of z, channels that are normalised, sets and
/// dropouts.
EK_HOST_DEVICE constexpr int z_before(int block) {
  int sum = 0;
  for (int i = 0; i < block; ++i) sum += conv_of(i).z_elements();
  return sum;
}
EK_HOST_DEVICE constexpr int channels_before(int block) {
  int sum = 0;
  for (int i = 0; i < block; ++i) sum += kNetwork[i].activated ? kNetwork[i].K : 0;
  return sum;
}
EK_HOST_DEVICE constexpr int sets_before(int block, NormPartition norm) {
  int sum = 0;
  for (int i = 0; i < block; ++i) sum += most_sets(i, norm);
  return sum;
}
EK_HOST_DEVICE constexpr int dropouts_before(int block) {
  int sum = 0;
  for (int i = 0; i < block; ++i) sum += kNetwork[i].dropout ? 1 : 0;
  return sum;
}
inline constexpr int kZ = z_before(kBlocks), kChannels = channels_before(kBlocks),
                     kDropouts = dropouts_before(kBlocks);

/// The last block of a run that starts at `block` and needs no statistics of other images on the way.
EK_HOST_DEVICE constexpr int last_of_run(int block) {
  while (block + 1 < kBlocks && !kNetwork[block].activated) ++block;
  return block;
}

/// Two blocks in a cluster compute half of a convolution, and of its input gradient, each, where it has so
/// many multiply-adds: half of them take longer than a sync_cluster.
inline constexpr int kWorthSharing = 1 << 16;
EK_HOST_DEVICE constexpr bool is_shared(int block) {
  return kNetwork[block].multiply_adds() >= kWorthSharing;
}
/// The number of a shared convolution in backward order.
EK_HOST_DEVICE constexpr int shared_after(int block) {
  int count = 0;
  for (int i = block + 1; i < kBlocks; ++i) count += is_shared(i) ? 1 : 0;
  return count;
}
/// The most elements of dx of the shared convolutions with even numbers, or odd ones.
EK_HOST_DEVICE constexpr int most_shared_dx(int parity) {
  int most = 0;
  for (int i = 1; i < kBlocks; ++i) {
    if (is_shared(i) && shared_after(i) % 2 == parity) most = larger(most, conv_of(i).x_elements());
  }
  return most;
}

EK_HOST_DEVICE constexpr int most_channels() {
  int most = 0;
  for (int i = 0; i < kBlocks; ++i) most = larger(most, kNetwork[i].K);
  return most;
}

/// Shared memory, in elements: filters, dz, x and later dx, sums of backward, for batch norm those over all
/// images, statistics and, if KEEPS_Z, z. Blocks in clusters have two places for dx besides, in turn: a block
/// writes its half of one into the other's memory while that may still read the one before.
template <NormPartition NORM, bool KEEPS_Z>
struct Memory {
  static constexpr int filters = 0;
  static constexpr int dz = [] {
    int most = 0;
    for (int i = 0; i < kBlocks; ++i)
      most = larger(most, larger(conv_of(i).filter_tile(), conv_of(i).turned_filter_tile()));
    return most;
  }();
  static constexpr int x = dz + [] {
    int most = 0;
    for (int i = 0; i < kBlocks; ++i) most = larger(most, conv_of(i).dz_tile().elements());
    return most;
  }();
  static constexpr int sums = x + [] {
    int most = 0;
    for (int i = 0; i < kBlocks; ++i) most = larger(most, conv_of(i).x_tile().elements());
    return most;
  }();
  static constexpr int merged = sums + [] {
    int most = 0;
    for (int i = 0; i < kBlocks; ++i) most = larger(most, 2 * (kNetwork[i].K + most_sets(i, NORM)));
    return most;
  }();
  static constexpr int statistics = merged + (NORM == NormPartition::batch ? 2 * most_channels() : 0);
  static constexpr int z = statistics + 3 * sets_before(kBlocks, NORM);
  static constexpr int total = z + (KEEPS_Z ? kZ : 0);
  static constexpr int even_dx = total;
  static constexpr int odd_dx = even_dx + most_shared_dx(0);
  static constexpr int total_in_cluster = odd_dx + most_shared_dx(1);
};

/// Global memory of the grid group of a network, in elements: the gradients of each image, [batch,
/// parameters], or, if the group has one block, their sum over the images; the loss of each image and whether
/// it was right; for batch norm the moments [N, C, 3] and sums [N, 2, C] of every normalised layer; and where
/// blocks do not keep z in shared memory, z and the gradients of the norms' outputs.
struct Scratch {
  std::int64_t gradients, loss, right, moments, channel_sums, z, dnorm, total;

  Scratch() = default;
  EK_HOST_DEVICE Scratch(int parameters, int blocks, std::int64_t batch, bool is_batch_norm, bool keeps_z) {
    gradients = 0;
    loss = (blocks == 1 ? 1 : batch) * parameters;
    right = loss + batch;
    moments = right + batch;
    channel_sums = moments + (is_batch_norm ? batch * 3 * kChannels : 0);
    z = channel_sums + (is_batch_norm ? batch * 2 * kChannels : 0);
    dnorm = z + (keeps_z ? 0 : batch * kZ);
    total = dnorm + (keeps_z ? 0 : batch * kZ);
  }
};

/// The batch of a step: its first image in the order of the epoch, how many it has, its first random key.
struct Batch {
  std::int64_t first;
  std::uint64_t draws;
  int images;
};

}  // namespace net

/// A block of a grid group at work on a step of its network. Its images of the batch are rank, rank + size,
/// ... If KEEPS_Z, the group may consist of clusters with at most an image each: both blocks of a cluster do
/// the same, except that each computes a part of the convolutions, and that only the first one writes to
/// global memory.
template <NormPartition NORM, bool KEEPS_Z, typename T>
struct ImageLayers {
  using Memory = net::Memory<NORM, KEEPS_Z>;
  static constexpr int kThreads = kThreadsOf<NORM>;
  static constexpr bool kBatchNorm = NORM == NormPartition::batch;

  const TrainingPointers<T>& of;
  T* shared;
  const T* brightness;  // [256], normalised
  T* scratch;
  const net::Scratch& at;  // this and `now` in shared memory, as `of`: registers are few
  const net::Batch& now;
  int rank, size;  // this block's number in the grid group, and how many blocks that has

  template <int L>
  static constexpr bool kNormalises = kNetwork[L].activated&& NORM != NormPartition::none;
  template <int L>
  static constexpr bool kShared = KEEPS_Z&& kNetwork[L].multiply_adds() >= net::kWorthSharing;

  /// This block's part of the work of its cluster, whose blocks have the same image.
  __device__ __forceinline__ Part part() const {
    if constexpr (KEEPS_Z) return {cluster_rank(), cluster_size()};
    return {};
  }
  __device__ __forceinline__ bool leads() const { return part().rank == 0; }
  __device__ __forceinline__ int first_image() const { return rank / part().of; }
  __device__ __forceinline__ int images_at_once() const { return size / part().of; }
  /// Where the other block of a cluster has the same element, if it computes the other half of convolution L;
  /// else null.
  template <int L>
  __device__ __forceinline__ T* others(T* mine) const {
    if (!kShared<L> || part().of == 1) return nullptr;
    return in_cluster(mine, 1 - part().rank);
  }
  template <int L>
  __device__ __forceinline__ Part part_of_convolution() const {
    return kShared<L> ? part() : Part{};
  }
  /// The barrier after convolution L, or after its input gradient.
  template <int L>
  __device__ __forceinline__ void sync_convolution() const {
    if constexpr (kShared<L>) {
      sync_cluster();
    } else {
      __syncthreads();
    }
  }

  template <int L>
  __device__ __forceinline__ T* z_of(int n) const {
    T* const all = KEEPS_Z ? shared + Memory::z : scratch + at.z + static_cast<std::int64_t>(n) * net::kZ;
    return all + net::z_before(L);
  }
  template <int L>
  __device__ __forceinline__ FusedStatistics<T>* statistics() const {
    return reinterpret_cast<FusedStatistics<T>*>(shared + Memory::statistics + 3 * net::sets_before(L, NORM));
  }
  /// Batch norm's, of image n and channel 0; those of other images are K further.
  template <int L>
  __device__ __forceinline__ FusedStatistics<T>* moments(int n) const {
    T* const layer = scratch + at.moments + of.batch * 3 * net::channels_before(L);
    return reinterpret_cast<FusedStatistics<T>*>(layer) + n * kNetwork[L].K;
  }
  template <int L>
  __device__ __forceinline__ T* channel_sums(int n) const {
    return scratch + at.channel_sums + (of.batch * net::channels_before(L) + n * kNetwork[L].K) * 2;
  }
  /// What follows convolution L.
  template <int L>
  __device__ __forceinline__ DeviceEpilogue<T> epilogue() const {
    constexpr BlockShape b = kNetwork[L];
    constexpr int pixels = b.output() * b.output();
    Epilogue<T> t;
    t.N = now.images;
    t.C = b.K;
    t.H = t.W = b.output();
    if constexpr (b.activated) {
      t.relu = b.is_norm_first(kBatchNorm);
      t.relu_first = !t.relu;
    }
    if constexpr (kNormalises<L>) {
      t.norm = NORM;
      t.sets = b.K;
      if (NORM == NormPartition::group && of.groups > 0) t.sets = of.groups;
      if (NORM == NormPartition::rows) t.sets = of.whole_rows ? 1 : b.K * b.output();
      if (NORM == NormPartition::pixels) t.sets = pixels;
      t.set_size = b.K * pixels / t.sets;
      t.eps = kNormEps;
      t.block = of.blocks[L].pointers.read_only();
      if (kBatchNorm) {
        t.momentum = kBatchNormMomentum;
        t.moments = moments<L>(0);
      }
    }
    t.pool = b.pool;
    t.window = b.window;
    if constexpr (b.dropout) {
      t.p = kDropout;
      t.key = {of.seed, RandomPurpose::dropout, now.draws + net::dropouts_before(L)};
    }
    return DeviceEpilogue<T>(t);
  }

  // --- forward --------------------------------------------------------------------------------------------

  /// The tile of image n: turned and normalised. Bytes: 784.
  __device__ __forceinline__ void fill_image(int n) const {
    constexpr int W = kNetwork[0].size;
    SIMT_SHARED(Rotation, rotation, [1]);
    const std::int64_t index = of.order[now.first + n];
    if (threadIdx.x == 0) rotation[0] = Rotation::by(of.angles != nullptr ? of.angles[index] : 0.0f);
    __syncthreads();
    const std::uint8_t* const image = of.images + index * W * W;
    for (int i = block_thread(); i < W * W; i += block_threads())
      shared[Memory::x + i] = brightness[turned_pixel(image, W, W, rotation[0], i / W, i % W)];
  }

  /// x of convolution L into its tile. Call: all threads; a barrier must follow.
  template <int L>
  __device__ __forceinline__ void fill_x(int n) const {
    if constexpr (L == 0) {
      fill_image(n);
    } else {
      const DeviceEpilogue<T> before = epilogue<L - 1>();
      fill_from_epilogue(shared + Memory::x, TileShape(net::conv_of(L).x_tile()),
                         EpilogueImage<T>(before, z_of<L - 1>(n), statistics<L - 1>()), n);
    }
  }

  /// z of convolution L for image n, and its statistics, or moments. Ends with a barrier.
  template <int L>
  __device__ __forceinline__ void forward_block(int n) const {
    constexpr ImageConv s = net::conv_of(L);
    constexpr int P = s.P(), Q = s.Q(), kQuads = ImageConv::in_quads(s.K) / kQuad;
    constexpr int kRows = kQuads * ((P + 3) / 4) * Q >= kThreads / 2 ? 4 : 1;
    fill_x<L>(n);
    load_filters<s.R, false>(shared + Memory::filters, of.blocks[L].pointers.weight, s.C, s.K);
    __syncthreads();
    T *const z = z_of<L>(n), *const others_z = others<L>(z);
    convolve<s.R, kRows>(
        shared + Memory::x, s.x_tile().pitch(), s.x_tile().plane(), shared + Memory::filters, s.C, s.K, P, Q,
        [&](int k, int p, int q, T value) {
          const int i = (k * P + p) * Q + q;
          z[i] = value;
          if (others_z != nullptr) others_z[i] = value;
        },
        part_of_convolution<L>());
    sync_convolution<L>();
    if constexpr (kNormalises<L>) {
      if (!kBatchNorm || leads())
        store_statistics(epilogue<L>(), z, kBatchNorm ? moments<L>(n) : statistics<L>());
      __syncthreads();
    }
  }

  /// Loss of image n from the last z; its gradient into the dz tile. A barrier must follow.
  __device__ __forceinline__ void write_loss(int n) const {
    constexpr int L = kBlocks - 1;
    clear_dz<L>();  // its first elements by the threads that fill them below
    if (block_thread() < kWarp) {
      const T* const z = z_of<L>(n);
      const RowLogSoftmax<T> row(z, kClasses);
      const auto label = static_cast<int>(of.labels[of.order[now.first + n]]);
      const int lane = block_thread();
      if (lane < kClasses) {
        const T y = row.at(z[lane]), total = -static_cast<T>(1.0 / now.images);
        shared[Memory::dz + lane] = (lane == label ? total : T(0)) - std::exp(y) * total;
        if (lane == label && leads()) scratch[at.loss + n] = -y;
      }
      if (lane == 0 && leads()) scratch[at.right + n] = largest_of_row(z, kClasses) == label ? T(1) : T(0);
    }
  }

  // --- backward -------------------------------------------------------------------------------------------

  template <int L>
  __device__ __forceinline__ void clear_dz() const {
    for (int i = block_thread(); i < net::conv_of(L).dz_tile().elements(); i += block_threads())
      shared[Memory::dz + i] = T(0);
  }
  /// An element of dz of convolution L in its tile.
  template <int L>
  __device__ __forceinline__ T& dz_at(const ImageElement& e) const {
    constexpr ImageTile tile = net::conv_of(L).dz_tile();
    const int h = e.s / tile.width, w = e.s - h * tile.width;
    return shared[Memory::dz + e.c * tile.plane() + tile.first() + h * tile.pitch() + w];
  }
  /// Where the gradient of batch norm's output waits for the other images.
  template <int L>
  __device__ __forceinline__ T& dnorm_at(const ImageElement& e, int n) const {
    if constexpr (KEEPS_Z) return dz_at<L>(e);
    return scratch[at.dnorm + static_cast<std::int64_t>(n) * net::kZ + net::z_before(L) + e.e];
  }

  /// An element of a parameter's gradient from image n. A block alone adds up its images in order, which
  /// gives the bits of a sum over images that several blocks write: they do not depend on the number of
  /// blocks.
  __device__ __forceinline__ void add_gradient(int n, int i, T value) const {
    if (size > 1) {
      scratch[at.gradients + static_cast<std::int64_t>(n) * of.parameters + i] = value;
    } else {
      T& sum = scratch[at.gradients + i];
      sum = n == 0 ? value : sum + value;
    }
  }

  /// dx of convolution L: where x was, which is done with, or where the other block of the cluster may write.
  template <int L>
  __device__ __forceinline__ T* dx_of() const {
    constexpr int exchanged = net::shared_after(L) % 2 == 0 ? Memory::even_dx : Memory::odd_dx;
    return shared + (kShared<L> && part().of > 1 ? exchanged : Memory::x);
  }

  /// Where epilogue_backward() through the epilogue of convolution L writes the gradients of image n.
  template <int L>
  struct Sink {
    const ImageLayers& worker;
    int n;

    __device__ __forceinline__ bool wants_channel_sums() const {
      return kNormalises<L> &&
             (kBatchNorm || (NORM != NormPartition::rows && block().pointers.gamma != nullptr));
    }
    __device__ __forceinline__ void channel_sums(const T* sums) const {
      constexpr int K = kNetwork[L].K;
      if (!worker.leads()) return;
      for (int i = block_thread(); i < 2 * K; i += block_threads()) {
        if (kBatchNorm) worker.template channel_sums<L>(n)[i] = sums[i];
        worker.add_gradient(n, i < K ? block().gamma.begin + i : block().beta.begin + i - K, sums[i]);
      }
    }
    template <typename Xhat>
    __device__ __forceinline__ void dnorm(const ImageElement& e, T d, const Xhat& xhat) const {
      if constexpr (kBatchNorm && kNormalises<L>) worker.template dnorm_at<L>(e, n) = d;
      if constexpr (NORM == NormPartition::rows && kNormalises<L>) {
        if (block().pointers.gamma == nullptr || !worker.leads()) return;
        worker.add_gradient(n, block().gamma.begin + e.e, d * xhat());
        worker.add_gradient(n, block().beta.begin + e.e, d);
      }
    }
    __device__ __forceinline__ void dz(const ImageElement& e, T d) const { worker.template dz_at<L>(e) = d; }

   private:
    __device__ __forceinline__ const BlockPointers<T>& block() const { return worker.of.blocks[L]; }
  };

  /// From dz of convolution L in its tile, of image n: the gradient of its filters, and, through the epilogue
  /// before, dz of convolution L - 1 in its tile, or for batch norm what that needs. Ends with a
  /// barrier; for the first convolution the last barrier is where its tiles have been read.
  template <int L>
  __device__ __forceinline__ void backward_block(int n) const {
    constexpr ImageConv s = net::conv_of(L);
    T *const x = shared + Memory::x, *const dz = shared + Memory::dz;
    fill_x<L>(n);
    if constexpr (L > 0)
      load_filters<s.R, true>(shared + Memory::filters, of.blocks[L].pointers.weight, s.K, s.C);
    __syncthreads();
    image_weight_gradient<s.R>(
        x, dz, s, [&](int i, T value) { add_gradient(n, of.blocks[L].weight.begin + i, value); }, part());
    if constexpr (L == 0) {
      constexpr int kPairs = ImageConv::in_quads(s.K) / kQuad * s.C;
      static_assert(2 * kPairs * kWarp <= kThreads, "slices of warps, which meet at a barrier");
    } else {
      T *const dx = dx_of<L>(), *const others_dx = others<L>(dx);
      if (dx == x) __syncthreads();
      constexpr int kQuads = ImageConv::in_quads(s.C) / kQuad;
      constexpr int kRows = kQuads * ((s.H + 3) / 4) * s.W >= kThreads / 2 ? 4 : 1;
      const ImageTile tile = s.dz_tile();
      convolve<s.R, kRows>(
          dz, tile.pitch(), tile.plane(), shared + Memory::filters, s.K, s.C, s.H, s.W,
          [&](int c, int h, int w, T value) {
            const int i = (c * s.H + h) * s.W + w;
            dx[i] = value;
            if (others_dx != nullptr) others_dx[i] = value;
          },
          part_of_convolution<L>());
      sync_convolution<L>();
      const DeviceEpilogue<T> before = epilogue<L - 1>();
      if (before.p > 0) drop(before, n, s.x_elements(), [&](int i) -> T& { return dx[i]; });
      clear_dz<L - 1>();
      __syncthreads();
      T* const sums = shared + Memory::sums;
      epilogue_backward(EpilogueImage<T>(before, z_of<L - 1>(n), statistics<L - 1>()), dx,
                        EpilogueSums<T>{sums, sums + 2 * before.C}, Sink<L - 1>{*this, n});
      __syncthreads();
    }
  }

  /// Batch norm's dz of convolution L for image n into its tile, from the sums over all images in
  /// shared memory. A barrier must follow.
  template <int L>
  __device__ __forceinline__ void finish_batch_norm(int n) const {
    const DeviceEpilogue<T> t = epilogue<L>();
    const EpilogueImage<T> image(t, z_of<L>(n), statistics<L>());
    if constexpr (!KEEPS_Z) {
      clear_dz<L>();
      __syncthreads();
    }
    for (int e = block_thread(); e < t.elements(); e += block_threads()) {
      const ImageElement element = t.element(e);
      dz_at<L>(element) = batch_norm_dz(image, element, dnorm_at<L>(element, n), shared + Memory::merged);
    }
  }
};

}  // namespace evenkeel::mnist
