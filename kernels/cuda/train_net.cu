#include "kernels/train_net.h"

#include <cstring>
#include <vector>

#include "kernels/cuda/sgd.cuh"
#include "kernels/cuda/train_net.cuh"

namespace evenkeel::cuda {
namespace {

/// What the kernel is launched with.
template <typename T>
struct NetLaunch {
  const NetTraining<T>* networks;
  unsigned* arrivals;  // [count]
  T* scratch;          // [count, scratch_stride]
  std::int64_t scratch_stride, first_step, steps;
  int team;
};

/// Steps of one network by a team of blocks.
template <ChainNorm NORM, bool HELD, typename T>
struct NetTrainer : NetWorker<NORM, HELD, T> {
  using Worker = NetWorker<NORM, HELD, T>;
  using Worker::at, Worker::now, Worker::of, Worker::rank, Worker::scratch, Worker::size;
  unsigned* arrivals;

  __device__ __forceinline__ void sync() const { sync_team(arrivals, size); }

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
      if constexpr (kLast + 1 == kMnistBlocks) {
        this->leave_loss(n);
        this->template backward_block<kLast>(n);
      }
    }
    if constexpr (kLast + 1 < kMnistBlocks) {
      sync();
      merge_statistics(this->template tail<kLast>(), this->template statistics<kLast>(), rank == 0);
      __syncthreads();
      forward_batch<kLast + 1>();
    }
  }
  /// All images back from block L, whose normalization waits for all of the batch.
  template <int L>
  __device__ __forceinline__ void backward_batch() const {
    constexpr int kTo = [] {
      int to = L;
      while (to > 0 && !kMnistNet[to - 1].activated) --to;
      return to;
    }();
    sync();
    merge_channel_sums(this->template tail<L>(), this->template channel_sums<L>(0),
                       this->shared + Worker::Memory::merged);
    __syncthreads();
    for (int n = this->first_image(); n < now.images; n += this->images_at_once()) {
      this->template finish_batch_norm<L>(n);
      backward_run<L, kTo>(n);
    }
    if constexpr (kTo > 0) backward_batch<kTo - 1>();
  }

  /// The sums of gradients of all of this block's images.
  __device__ __forceinline__ void leave_gradients() const {
    constexpr int kLast = kMnistBlocks - 1;
    if constexpr (Worker::kBatchNorm) {
      forward_batch<0>();
      backward_batch<kLast - 1>();
    } else {
      for (int n = this->first_image(); n < now.images; n += this->images_at_once()) {
        forward_run<0, kLast>(n);
        this->leave_loss(n);
        backward_run<kLast, 0>(n);
      }
    }
  }

  __device__ __forceinline__ NetParameter<T> parameter_with(int i) const {
    NetParameter<T> found{};
    for (const NetBlock<T>& block : of.blocks) {
      for (const NetParameter<T>* p : {&block.weight, &block.gamma, &block.beta}) {
        if (i >= p->begin && i < p->begin + p->count) found = *p;
      }
    }
    return found;
  }
  /// The blocks' shares of the parameters, a thread an element, whose gradient is the sum over the images in
  /// order. Bytes: 4 sizeof(T) an element, and sizeof(T) for each row of gradients.
  __device__ __forceinline__ void update_parameters() const {
    const SgdRule<T> rule(of.lr, of.momentum, of.weight_decay, of.l1, of.nesterov, of.proximal);
    const int rows = size > 1 ? now.images : 1;
    for (int i = rank * block_threads() + block_thread(); i < of.parameters; i += size * block_threads()) {
      const T* const column = scratch + at.gradients + i;
      T gradient = 0;
      for (int row = 0; row < rows; ++row) gradient += column[static_cast<std::int64_t>(row) * of.parameters];
      const NetParameter<T> p = parameter_with(i);
      const int j = i - p.begin;
      step_element(rule, p.value + j, p.velocity != nullptr ? p.velocity + j : nullptr, gradient);
    }
  }
  /// By one warp of the team.
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
    leave_gradients();
    sync();
    update_parameters();
    update_totals();
    sync();
  }
};

/// Steps of every network, each by a team of blocks. Of an image, 4,592,280 FLOP, forward and backward.
template <ChainNorm NORM, bool HELD, typename T>
__global__ void __launch_bounds__(kNetThreads<NORM>, 1)
    train_net_kernel(const __grid_constant__ NetLaunch<T> a) {
  SIMT_DYN_SHARED(T, shared);
  SIMT_SHARED(T, brightness, [256]);
  SIMT_SHARED(NetTraining<T>, network, [1]);
  SIMT_SHARED(net::Scratch, places, [1]);
  SIMT_SHARED(net::Batch, batch, [1]);
  const int number = static_cast<int>(blockIdx.x) / a.team;
  const auto* const from = reinterpret_cast<const std::uint32_t*>(a.networks + number);
  constexpr int kWords = sizeof(NetTraining<T>) / sizeof(std::uint32_t);
  for (int i = block_thread(); i < kWords; i += block_threads())
    reinterpret_cast<std::uint32_t*>(network)[i] = from[i];
  sync_cluster();  // from here on the other block is there
  const NetTraining<T>& of = network[0];
  if (block_thread() == 0)
    places[0] = net::Scratch(of.parameters, a.team, of.batch, NORM == ChainNorm::batch, HELD);
  for (int b = block_thread(); b < 256; b += block_threads())
    brightness[b] = normalised<T>(b, of.mean, of.std);
  const NetTrainer<NORM, HELD, T> trainer{
      {of, shared, brightness, a.scratch + number * a.scratch_stride, places[0], batch[0],
       static_cast<int>(blockIdx.x) % a.team, a.team},
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

// --- launchers ---------------------------------------------------------------------------------------------

/// Blocks hold z of their only image; of several only if each is done with before the next.
template <typename T>
bool holds_z(const TrainNetArgs<T>& a) {
  return a.networks->norm != ChainNorm::batch || a.networks->batch <= a.team;
}

template <typename T>
net::Scratch scratch_of(const TrainNetArgs<T>& a) {
  const NetTraining<T>& n = *a.networks;
  return {n.parameters, a.team, n.batch, n.norm == ChainNorm::batch, holds_z(a)};
}

std::int64_t aligned(std::int64_t bytes) { return (bytes + 255) / 256 * 256; }

/// Of the networks and the arrivals of their teams, before the scratch memory of each.
template <typename T>
std::int64_t head_bytes(const TrainNetArgs<T>& a) {
  return aligned(a.count * static_cast<std::int64_t>(sizeof(NetTraining<T>))) +
         aligned(a.count * static_cast<std::int64_t>(sizeof(unsigned)));
}

/// Calls f.operator()<NORM, HELD>().
template <typename F>
void with_norm(ChainNorm norm, bool held, const F& f) {
  switch (norm) {
    case ChainNorm::none:
      return f.template operator()<ChainNorm::none, true>();
    case ChainNorm::batch:
      return held ? f.template operator()<ChainNorm::batch, true>()
                  : f.template operator()<ChainNorm::batch, false>();
    case ChainNorm::group:
      return f.template operator()<ChainNorm::group, true>();
    case ChainNorm::rows:
      return f.template operator()<ChainNorm::rows, true>();
    case ChainNorm::pixels:
      return f.template operator()<ChainNorm::pixels, true>();
  }
}

/// Calls f(kernel, how it is launched on the default stream).
template <typename T, typename F>
void with_kernel(const TrainNetArgs<T>& a, const F& f) {
  with_norm(a.networks->norm, holds_z(a), [&]<ChainNorm NORM, bool HELD>() {
    using Memory = net::Memory<NORM, HELD>;
    const std::int64_t elements = a.cluster > 1 ? Memory::total_in_cluster : Memory::total;
    LaunchConfig config{static_cast<std::int64_t>(a.count) * a.team, kNetThreads<NORM>,
                        elements * static_cast<std::int64_t>(sizeof(T))};
    config.team = a.team;
    config.cluster = a.cluster;
    f(train_net_kernel<NORM, HELD, T>, config);
  });
}

constexpr std::int64_t kDeclared = 6144;  // bytes, at most, of static shared memory

}  // namespace

template <typename T>
std::int64_t train_net_scratch(const TrainNetArgs<T>& a) {
  return head_bytes(a) + a.count * scratch_of(a).total * static_cast<std::int64_t>(sizeof(T));
}

template <typename T>
std::int64_t train_net_shared(ChainNorm norm) {
  std::int64_t elements = 0;
  with_norm(norm, true, [&]<ChainNorm NORM, bool HELD>() { elements = net::Memory<NORM, HELD>::total; });
  return elements * static_cast<std::int64_t>(sizeof(T)) + kDeclared;
}

template <typename T>
int train_net_clusters(const TrainNetArgs<T>& a) {
  int clusters = 0;
  with_kernel(a, [&](auto kernel, const LaunchConfig& config) {
    if (config.shared + kDeclared <= most_shared_memory())
      clusters = most_clusters("train_net", kernel, config);
  });
  return clusters;
}

template <typename T>
void train_net(const TrainNetArgs<T>& a, Stream stream) {
  // The networks, and the arrivals of their teams: none yet.
  const auto network_bytes = a.count * static_cast<std::int64_t>(sizeof(NetTraining<T>));
  std::vector<char> head(static_cast<std::size_t>(head_bytes(a)), 0);
  std::memcpy(head.data(), a.networks, static_cast<std::size_t>(network_bytes));
  char* const memory = static_cast<char*>(a.scratch);
  check_launch("train_net", {1, 1, 0, stream},
               cudaMemcpyAsync(memory, head.data(), head.size(), cudaMemcpyHostToDevice, stream));
  const NetLaunch<T> launched{reinterpret_cast<NetTraining<T>*>(memory),
                              reinterpret_cast<unsigned*>(memory + aligned(network_bytes)),
                              reinterpret_cast<T*>(memory + head_bytes(a)),
                              scratch_of(a).total,
                              a.first_step,
                              a.steps,
                              a.team};
  with_kernel(a, [&](auto kernel, LaunchConfig config) {
    config.stream = stream;
    launch("train_net", kernel, config, launched);
  });
}

template void train_net(const TrainNetArgs<float>&, Stream);
template std::int64_t train_net_scratch(const TrainNetArgs<float>&);
template std::int64_t train_net_shared<float>(ChainNorm);
template int train_net_clusters(const TrainNetArgs<float>&);

}  // namespace evenkeel::cuda
