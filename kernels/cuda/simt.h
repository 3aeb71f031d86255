// CUDA as the kernels of this folder see it. nvcc compiles them for GPUs; the EMULATED build compiles the
// same files with the host's compiler, against the SIMT executor of tests/simt, whose <cuda_runtime.h> comes
// first in its search path. The differences are here and nowhere else:
//
//   SIMT_SHARED(float, tile, [16][17]);   a block's shared array, filled with NaN bytes by the executor
//   SIMT_DYN_SHARED(T, name);             the dynamic part: a T* to `shared` bytes of the launch
//   launch("name", kernel, {blocks, threads, shared, stream}, args...)   instead of <<<>>>, checked
//   EK_UNROLL       before a loop that must be unrolled, so that its array stays in registers
//   EK_NO_UNROLL    before one that must not be, as its body fills the registers
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/common.h"
#include "kernels/cuda/workspace.h"

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
};

/// Throws std::runtime_error, naming the kernel, if the grid is larger than CUDA's 2^31 - 1 blocks.
void check_config(const char* name, const LaunchConfig& config);
/// Throws std::runtime_error, naming the kernel and its configuration, if `error` is one.
void check_launch(const char* name, const LaunchConfig& config, cudaError_t error);

/// Enqueues a kernel. Throws std::runtime_error if it cannot be launched.
template <typename... Parameters, typename... Args>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchConfig& config,
            const Args&... args) {
  if (config.blocks == 0) return;
  check_config(name, config);
  const auto blocks = static_cast<unsigned>(config.blocks), threads = static_cast<unsigned>(config.threads);
#ifdef __CUDACC__
  if (config.shared > 48 * 1024) {  // more than every GPU has without being asked
    check_launch(name, config,
                 cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(config.shared)));
  }
  kernel<<<blocks, threads, config.shared, config.stream>>>(static_cast<Parameters>(args)...);
#else
  simt::launch(
      {name, {blocks, 1, 1}, {threads, 1, 1}, static_cast<std::size_t>(config.shared), config.stream}, kernel,
      args...);
#endif
  check_launch(name, config, cudaGetLastError());
}

/// The bytes of shared memory, static and dynamic, that a block of the current device can have; 0 if there is
/// none.
std::int64_t most_shared_memory();

}  // namespace evenkeel::cuda
