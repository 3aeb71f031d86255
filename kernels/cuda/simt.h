// CUDA as the kernels of this folder see it. nvcc compiles them for GPUs; the EMULATED build compiles the
// same files with the host's compiler, against the SIMT executor in simt/, whose <cuda_runtime.h> comes
// first in its search path. The differences are here and nowhere else:
//
//   SIMT_SHARED(float, tile, [16][17]);   a block's shared array, filled with NaN bytes by the executor
//   SIMT_DYN_SHARED(T, name);             the dynamic part: a T* to `shared` bytes of the launch
//   launch("name", kernel, {blocks, threads, shared, stream, grid_group}, args...)  checked, for <<<>>>
//   EK_UNROLL       before a loop that must be unrolled, so that its array stays in registers
//   EK_NO_UNROLL    before one that must not be, as its body fills the registers
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "evenkeel/kernels/common.h"
#include "evenkeel/kernels/cuda/workspace.h"

#ifdef __CUDACC__
#  define SIMT_SHARED(T, name, ...) __shared__ T name __VA_ARGS__
#  define SIMT_DYN_SHARED(T, name)                               \
    extern __shared__ __align__(16) unsigned char simt_shared[]; \
    T* const name = reinterpret_cast<T*>(simt_shared)
#  define EK_UNROLL _Pragma("unroll")
#  define EK_NO_UNROLL _Pragma("unroll 1")
#else
#  define EK_UNROLL
#  define EK_NO_UNROLL
#endif

namespace evenkeel::cuda {

/// One-dimensional grids and blocks: kernels take their indices apart themselves.
struct LaunchConfig {
  std::int64_t blocks;      ///< none: nothing is launched
  int threads;              ///< a block
  std::int64_t shared = 0;  ///< bytes of dynamic shared memory a block
  Stream stream = nullptr;
  /// Neighbouring blocks that wait for each other, by sync_grid_group(); all are resident at once.
  int grid_group = 1;
  /// Neighbours of a grid group that use each other's shared memory: kernels/cuda/cluster.cuh.
  int cluster = 1;
};

/// Throws std::runtime_error, naming the kernel, if the grid is larger than CUDA's 2^31 - 1 blocks.
void check_config(const char* name, const LaunchConfig& config);
/// Throws std::runtime_error, naming the kernel and its configuration, if `error` is one.
void check_launch(const char* name, const LaunchConfig& config, cudaError_t error);

#ifdef __CUDACC__
/// How CUDA launches a grid with grid groups, which it refuses where not all blocks are resident at once, and
/// with clusters.
struct GroupLaunch {
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config = {};

  explicit GroupLaunch(const LaunchConfig& c) {
    config.gridDim = dim3(static_cast<unsigned>(c.blocks));
    config.blockDim = dim3(static_cast<unsigned>(c.threads));
    config.dynamicSmemBytes = static_cast<std::size_t>(c.shared);
    config.stream = c.stream;
    config.attrs = attributes;
    config.numAttrs = c.cluster > 1 ? 2 : 1;
    attributes[0].id = cudaLaunchAttributeCooperative;
    attributes[0].val.cooperative = 1;
    attributes[1].id = cudaLaunchAttributeClusterDimension;
    attributes[1].val.clusterDim = {static_cast<unsigned>(c.cluster), 1, 1};
  }
  GroupLaunch(const GroupLaunch&) = delete;
  GroupLaunch& operator=(const GroupLaunch&) = delete;
};
template <typename... Parameters>
void allow_shared_memory(const char* name, void (*kernel)(Parameters...), const LaunchConfig& config) {
  if (config.shared <= 48 * 1024) return;  // which every GPU has without being asked
  check_launch(name, config,
               cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(config.shared)));
}
#endif

/// How many clusters of such a launch the device holds at once; 0 where it has none. In EMULATED builds as
/// many as it has multiprocessors for.
template <typename... Parameters>
int most_clusters(const char* name, [[maybe_unused]] void (*kernel)(Parameters...),
                  const LaunchConfig& config) {
  int device = 0, clusters = 0;
  check_launch(name, config, cudaGetDevice(&device));
#ifdef __CUDACC__
  int major = 0;
  check_launch(name, config, cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  if (major < 9) return 0;
  allow_shared_memory(name, kernel, config);
  GroupLaunch group(config);
  group.config.attrs = &group.attributes[1];  // only the cluster's
  group.config.numAttrs = 1;
  check_launch(name, config, cudaOccupancyMaxActiveClusters(&clusters, kernel, &group.config));
#else
  check_launch(name, config, cudaDeviceGetAttribute(&clusters, cudaDevAttrMultiProcessorCount, device));
  clusters /= config.cluster;
#endif
  return clusters;
}

/// Enqueues a kernel, whose blocks are a multiple of its grid group, and that of its cluster. Throws
/// std::runtime_error if it cannot be launched.
template <typename... Parameters, typename... Args>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchConfig& config,
            const Args&... args) {
  if (config.blocks == 0) return;
  check_config(name, config);
  const auto blocks = static_cast<unsigned>(config.blocks), threads = static_cast<unsigned>(config.threads);
#ifdef __CUDACC__
  allow_shared_memory(name, kernel, config);
  if (config.grid_group > 1) {
    const GroupLaunch group(config);
    check_launch(name, config, cudaLaunchKernelEx(&group.config, kernel, static_cast<Parameters>(args)...));
  } else {
    kernel<<<blocks, threads, config.shared, config.stream>>>(static_cast<Parameters>(args)...);
  }
#else
  simt::launch({name,
                {blocks, 1, 1},
                {threads, 1, 1},
                static_cast<std::size_t>(config.shared),
                config.stream,
                static_cast<unsigned>(config.grid_group),
                static_cast<unsigned>(config.cluster)},
               kernel, args...);
#endif
  check_launch(name, config, cudaGetLastError());
}

}  // namespace evenkeel::cuda
