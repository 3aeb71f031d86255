#include "evenkeel/apps/mnist/one_kernel_args.h"

#include <cstring>
#include <vector>

#include "evenkeel/apps/mnist/one_kernel_layers.cuh"
#include "evenkeel/apps/mnist/one_kernel_launch.cuh"

namespace evenkeel::cuda {
namespace {

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

/// Calls f(TrainNetKernel, how it is launched on the default stream).
template <typename T, typename F>
void with_kernel(const TrainNetArgs<T>& a, const F& f) {
  with_norm(a.networks->norm, holds_z(a), [&]<ChainNorm NORM, bool HELD>() {
    using Memory = net::Memory<NORM, HELD>;
    const std::int64_t elements = a.cluster > 1 ? Memory::total_in_cluster : Memory::total;
    LaunchConfig config{static_cast<std::int64_t>(a.count) * a.team, kNetThreads<NORM>,
                        elements * static_cast<std::int64_t>(sizeof(T))};
    config.team = a.team;
    config.cluster = a.cluster;
    f(TrainNetKernel<NORM, HELD, T>(), config);
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
    if (config.shared + kDeclared <= most_shared_memory()) clusters = kernel.clusters(config);
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
    kernel.launch(config, launched);
  });
}

template void train_net(const TrainNetArgs<float>&, Stream);
template std::int64_t train_net_scratch(const TrainNetArgs<float>&);
template std::int64_t train_net_shared<float>(ChainNorm);
template int train_net_clusters(const TrainNetArgs<float>&);

}  // namespace evenkeel::cuda
