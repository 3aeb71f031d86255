// CUDA as the kernels of this folder see it. nvcc compiles them for GPUs; the EMULATED build compiles the
// same files with the host's compiler, against the SIMT executor of tests/simt, whose <cuda_runtime.h> comes
// first in its search path. The differences are here and nowhere else:
//
//   SIMT_SHARED(float, tile, [16][17]);   a block's shared array, filled with NaN bytes by the executor
//   SIMT_DYN_SHARED(T, name);             the dynamic part: a T* to `shared` bytes of the launch
//   launch("name", kernel, {blocks, threads, shared, stream, team}, args...)   instead of <<<>>>, checked
//   EK_UNROLL       before a loop that must be unrolled, so that its array stays in registers
//   EK_NO_UNROLL    before one that must not be, as its body fills the registers
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

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
  int team = 1;  ///< neighbouring blocks that wait for each other, by sync_team(); all are resident at once
};

/// Throws std::runtime_error, naming the kernel, if the grid is larger than CUDA's 2^31 - 1 blocks.
void check_config(const char* name, const LaunchConfig& config);
/// Throws std::runtime_error, naming the kernel and its configuration, if `error` is one.
void check_launch(const char* name, const LaunchConfig& config, cudaError_t error);

#ifdef __CUDACC__
/// The launch of teams: CUDA refuses it where not all blocks of the grid are resident at once.
template <typename... Parameters>
cudaError_t launch_cooperatively(void (*kernel)(Parameters...), const LaunchConfig& config,
                                 std::remove_const_t<Parameters>... values) {
  void* pointers[] = {static_cast<void*>(&values)..., nullptr};
  return cudaLaunchCooperativeKernel(kernel, static_cast<unsigned>(config.blocks),
                                     static_cast<unsigned>(config.threads), pointers,
                                     static_cast<std::size_t>(config.shared), config.stream);
}
#endif

/// Enqueues a kernel, whose blocks are a multiple of its team. Throws std::runtime_error if it cannot be
/// launched.
template <typename... Parameters, typename... Args>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchConfig& config,
            const Args&... args) {
  if (config.blocks == 0) return;
  check_config(name, config);
  if (config.team < 1 || config.blocks % config.team != 0) check_launch(name, config, cudaErrorInvalidValue);
  const auto blocks = static_cast<unsigned>(config.blocks), threads = static_cast<unsigned>(config.threads);
#ifdef __CUDACC__
  if (config.shared > 48 * 1024) {  // more than every GPU has without being asked
    check_launch(name, config,
                 cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(config.shared)));
  }
  if (config.team > 1) {
    check_launch(name, config, launch_cooperatively(kernel, config, static_cast<Parameters>(args)...));
  } else {
    kernel<<<blocks, threads, config.shared, config.stream>>>(static_cast<Parameters>(args)...);
  }
#else
  simt::launch({name,
                {blocks, 1, 1},
                {threads, 1, 1},
                static_cast<std::size_t>(config.shared),
                config.stream,
                static_cast<unsigned>(config.team)},
               kernel, args...);
#endif
  check_launch(name, config, cudaGetLastError());
}

}  // namespace evenkeel::cuda
