// The kernel that trains a network in one launch, and how it is launched. Each of the files one_kernel_*.cu
// instantiates it for one normalization, as each of them compiles for as long as all other kernels together.
#pragma once

#include "evenkeel/apps/mnist/one_kernel_launch.cuh"
#include "evenkeel/apps/mnist/one_kernel_layers.cuh"

namespace evenkeel::mnist {

/// Steps of one network by a grid group.
template <NormPartition NORM, bool KEEPS_Z, typename T>
struct NetworkSteps : ImageLayers<NORM, KEEPS_Z, T> {
  using Worker = ImageLayers<NORM, KEEPS_Z, T>;
  using Worker::at, Worker::now, Worker::of, Worker::rank, Worker::scratch, Worker::size;
  unsigned* arrivals;

  __device__ __forceinline__ void sync() const { sync_grid_group(arrivals, size); }

  /// Blocks FROM ... TO of image n.
  template <int FROM, int TO>
  __device__ __forceinline__ void forward_run(int n) const {
    this->template forward_block<FROM>(n);
    if constexpr (FROM < TO) forward_run<FROM + 1, TO>(n);
  }
  /// Blocks FROM, FROM - 1, ... TO of image n.
  template <int FROM, int TO>
  __device__ __forceinline__ void backward_run(int n) const {
    this->template backward_block<FROM>(n);
    if constexpr (FROM > TO) backward_run<FROM - 1, TO>(n);
  }

  /// All images from block L on, with all of the batch before every normalization: forward up to the loss,
  /// backward through the last block.
  template <int L>
  __device__ __forceinline__ void forward_batch() const {
    constexpr int kLast = net::last_of_run(L);
    for (int n = this->first_image(); n < now.images; n += this->images_at_once()) {
      forward_run<L, kLast>(n);
      if constexpr (kLast + 1 == kBlocks) {
        this->write_loss(n);
        this->template backward_block<kLast>(n);
      }
    }
    if constexpr (kLast + 1 < kBlocks) {
      sync();
      merge_statistics(this->template epilogue<kLast>(), this->template statistics<kLast>(), rank == 0);
      __syncthreads();
      forward_batch<kLast + 1>();
    }
  }
  /// All images back from block L, whose normalization waits for all of the batch.
  template <int L>
  __device__ __forceinline__ void backward_batch() const {
    constexpr int kTo = [] {
      int to = L;
      while (to > 0 && !kNetwork[to - 1].activated) --to;
      return to;
    }();
    sync();
    merge_channel_sums(this->template epilogue<L>(), this->template channel_sums<L>(0),
                       this->shared + Worker::Memory::merged);
    __syncthreads();
    for (int n = this->first_image(); n < now.images; n += this->images_at_once()) {
      this->template finish_batch_norm<L>(n);
      backward_run<L, kTo>(n);
    }
    if constexpr (kTo > 0) backward_batch<kTo - 1>();
  }

  /// The sums of gradients of all of this block's images.
  __device__ __forceinline__ void write_gradients() const {
    constexpr int kLast = kBlocks - 1;
    if constexpr (Worker::kBatchNorm) {
      forward_batch<0>();
      backward_batch<kLast - 1>();
    } else {
      for (int n = this->first_image(); n < now.images; n += this->images_at_once()) {
        forward_run<0, kLast>(n);
        this->write_loss(n);
        backward_run<kLast, 0>(n);
      }
    }
  }

  /// Element i of all parameters, and of their momentum buffers or null.
  struct Element {
    T *value, *velocity;
  };
  __device__ __forceinline__ Element element(int i) const {
    T *values = nullptr, *velocity = nullptr;
    int begin = 0;
    const auto look_in = [&](T* its_values, const SgdPointers<T>& p) {
      if (i < p.begin || i >= p.begin + p.count) return;
      values = its_values;
      velocity = p.velocity;
      begin = p.begin;
    };
    for (const BlockPointers<T>& block : of.blocks) {
      look_in(block.pointers.weight, block.weight);
      look_in(block.pointers.gamma, block.gamma);
      look_in(block.pointers.beta, block.beta);
    }
    const int j = i - begin;
    return {values + j, velocity != nullptr ? velocity + j : nullptr};
  }
  /// The blocks' shares of the parameters, a thread an element, whose gradient is the sum over the images in
  /// order. Bytes: 4 sizeof(T) an element, and sizeof(T) for each row of gradients.
  __device__ __forceinline__ void update_parameters() const {
    const SgdStep<T> step(of.rule);
    const int rows = size > 1 ? now.images : 1;
    for (int i = rank * block_threads() + block_thread(); i < of.parameters; i += size * block_threads()) {
      const T* const column = scratch + at.gradients + i;
      T gradient = 0;
      for (int row = 0; row < rows; ++row) gradient += column[static_cast<std::int64_t>(row) * of.parameters];
      const Element p = element(i);
      *p.value = step(*p.value, p.velocity, gradient);
    }
  }
  /// Writes the mean loss of the batch and adds the batch to the totals. One warp of the grid group does it.
  __device__ __forceinline__ void update_totals() const {
    if (rank != 0 || block_thread() >= kWarp) return;
    T loss = 0, right = 0;
    for (int n = block_thread(); n < now.images; n += kWarp) {
      loss += scratch[at.loss + n];
      right += scratch[at.right + n];
    }
    loss = lane_sum(loss) * static_cast<T>(1.0 / now.images);
    right = lane_sum(right);
    if (block_thread() > 0) return;
    *of.loss = loss;
    of.totals[0] += static_cast<double>(now.images) * static_cast<double>(loss);
    of.totals[1] += static_cast<double>(right);
  }

  __device__ __forceinline__ void step() const {
    write_gradients();
    sync();
    update_parameters();
    update_totals();
    sync();
  }
};

/// Steps of every network, each by a grid group. An image takes 4,592,280 FLOP, forward and backward.
template <NormPartition NORM, bool KEEPS_Z, typename T>
__global__ void __launch_bounds__(kThreadsOf<NORM>, 1)
    one_kernel(const __grid_constant__ OneKernelLaunch<T> a) {
  SIMT_DYN_SHARED(T, shared);
  SIMT_SHARED(T, brightness, [256]);
  SIMT_SHARED(TrainingPointers<T>, network, [1]);
  SIMT_SHARED(net::Scratch, places, [1]);
  SIMT_SHARED(net::Batch, batch, [1]);
  const int number = static_cast<int>(blockIdx.x) / a.blocks;
  const auto* const from = reinterpret_cast<const std::uint32_t*>(a.networks + number);
  constexpr int kWords = sizeof(TrainingPointers<T>) / sizeof(std::uint32_t);
  for (int i = block_thread(); i < kWords; i += block_threads())
    reinterpret_cast<std::uint32_t*>(network)[i] = from[i];
  sync_cluster();  // from here on the other block is there
  const TrainingPointers<T>& of = network[0];
  if (block_thread() == 0)
    places[0] = net::Scratch(of.parameters, a.blocks, of.batch, NORM == NormPartition::batch, KEEPS_Z);
  for (int b = block_thread(); b < 256; b += block_threads())
    brightness[b] = normalised<T>(b, of.mean, of.std);
  const NetworkSteps<NORM, KEEPS_Z, T> trainer{
      {of, shared, brightness, a.scratch + number * a.scratch_stride, places[0], batch[0],
       static_cast<int>(blockIdx.x) % a.blocks, a.blocks},
      a.arrivals + number};
  for (std::int64_t step = 0; step < a.steps; ++step) {
    if (block_thread() == 0) {
      const std::int64_t first = (a.first_step + step) * of.batch;
      batch[0] = {first, of.draws + net::kDropouts * static_cast<std::uint64_t>(step),
                  static_cast<int>(min(of.batch, of.epoch_images - first))};
    }
    __syncthreads();
    trainer.step();
  }
}

template <NormPartition NORM, bool KEEPS_Z, typename T>
void OneKernelOfNorm<NORM, KEEPS_Z, T>::launch(const LaunchConfig& config,
                                               const OneKernelLaunch<T>& launched) {
  cuda::launch("train_net", one_kernel<NORM, KEEPS_Z, T>, config, launched);
}

template <NormPartition NORM, bool KEEPS_Z, typename T>
int OneKernelOfNorm<NORM, KEEPS_Z, T>::clusters(const LaunchConfig& config) {
  return most_clusters("train_net", one_kernel<NORM, KEEPS_Z, T>, config);
}

}  // namespace evenkeel::mnist
