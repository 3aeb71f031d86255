#include "evenkeel/apps/mnist/one_kernel_args.h"

#include <cstring>
#include <vector>

#include "evenkeel/apps/mnist/one_kernel_launch.cuh"
#include "evenkeel/apps/mnist/one_kernel_layers.cuh"

namespace evenkeel::mnist {
namespace {

/// Whether blocks keep z in shared memory: they do if they have one image each, or finish an image before
/// they begin the next one.
template <typename T>
bool keeps_z(const OneKernelArgs<T>& a) {
  return a.networks->norm != NormPartition::batch || a.networks->batch <= a.blocks;
}

template <typename T>
net::Scratch scratch_of(const OneKernelArgs<T>& a) {
  const TrainingPointers<T>& n = *a.networks;
  return {n.parameters, a.blocks, n.batch, n.norm == NormPartition::batch, keeps_z(a)};
}

std::int64_t aligned(std::int64_t bytes) { return (bytes + 255) / 256 * 256; }

/// The bytes of the networks and of the arrivals of their grid groups. The scratch memory of each network
/// follows them.
template <typename T>
std::int64_t head_bytes(const OneKernelArgs<T>& a) {
  return aligned(a.count * static_cast<std::int64_t>(sizeof(TrainingPointers<T>))) +
         aligned(a.count * static_cast<std::int64_t>(sizeof(unsigned)));
}

/// Calls f.operator()<NORM, KEEPS_Z>().
template <typename F>
void with_norm(NormPartition norm, bool keeps, const F& f) {
  switch (norm) {
    case NormPartition::none:
      return f.template operator()<NormPartition::none, true>();
    case NormPartition::batch:
      return keeps ? f.template operator()<NormPartition::batch, true>()
                   : f.template operator()<NormPartition::batch, false>();
    case NormPartition::group:
      return f.template operator()<NormPartition::group, true>();
    case NormPartition::rows:
      return f.template operator()<NormPartition::rows, true>();
    case NormPartition::pixels:
      return f.template operator()<NormPartition::pixels, true>();
  }
}

/// Calls f(OneKernelOfNorm, how it is launched on the default stream).
template <typename T, typename F>
void with_kernel(const OneKernelArgs<T>& a, const F& f) {
  with_norm(a.networks->norm, keeps_z(a), [&]<NormPartition NORM, bool KEEPS_Z>() {
    using Memory = net::Memory<NORM, KEEPS_Z>;
    const std::int64_t elements = a.cluster > 1 ? Memory::total_in_cluster : Memory::total;
    LaunchConfig config{static_cast<std::int64_t>(a.count) * a.blocks, kThreadsOf<NORM>,
                        elements * static_cast<std::int64_t>(sizeof(T))};
    config.grid_group = a.blocks;
    config.cluster = a.cluster;
    f(OneKernelOfNorm<NORM, KEEPS_Z, T>(), config);
  });
}

constexpr std::int64_t kDeclared = 6144;  // bytes, at most, of static shared memory

}  // namespace

template <typename T>
std::int64_t one_kernel_scratch(const OneKernelArgs<T>& a) {
  return head_bytes(a) + a.count * scratch_of(a).total * static_cast<std::int64_t>(sizeof(T));
}

template <typename T>
std::int64_t one_kernel_shared(NormPartition norm) {
  std::int64_t elements = 0;
  with_norm(norm, true,
            [&]<NormPartition NORM, bool KEEPS_Z>() { elements = net::Memory<NORM, KEEPS_Z>::total; });
  return elements * static_cast<std::int64_t>(sizeof(T)) + kDeclared;
}

template <typename T>
int one_kernel_clusters(const OneKernelArgs<T>& a) {
  int clusters = 0;
  with_kernel(a, [&](auto kernel, const LaunchConfig& config) {
    if (config.shared + kDeclared <= most_shared_memory()) clusters = kernel.clusters(config);
  });
  return clusters;
}

template <typename T>
void train_in_one_kernel(const OneKernelArgs<T>& a, Stream stream) {
  // The networks, and the arrivals of their grid groups: none yet.
  const auto network_bytes = a.count * static_cast<std::int64_t>(sizeof(TrainingPointers<T>));
  std::vector<char> head(static_cast<std::size_t>(head_bytes(a)), 0);
  std::memcpy(head.data(), a.networks, static_cast<std::size_t>(network_bytes));
  char* const memory = static_cast<char*>(a.scratch);
  check_launch("train_net", {1, 1, 0, stream},
               cudaMemcpyAsync(memory, head.data(), head.size(), cudaMemcpyHostToDevice, stream));
  const OneKernelLaunch<T> launched{reinterpret_cast<TrainingPointers<T>*>(memory),
                                    reinterpret_cast<unsigned*>(memory + aligned(network_bytes)),
                                    reinterpret_cast<T*>(memory + head_bytes(a)),
                                    scratch_of(a).total,
                                    a.first_step,
                                    a.steps,
                                    a.blocks};
  with_kernel(a, [&](auto kernel, LaunchConfig config) {
    config.stream = stream;
    kernel.launch(config, launched);
  });
}

template void train_in_one_kernel(const OneKernelArgs<float>&, Stream);
template std::int64_t one_kernel_scratch(const OneKernelArgs<float>&);
template std::int64_t one_kernel_shared<float>(NormPartition);
template int one_kernel_clusters(const OneKernelArgs<float>&);

}  // namespace evenkeel::mnist
