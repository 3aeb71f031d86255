#include "kernels/cuda/simt.h"

#include <map>
#include <mutex>
#include <stdexcept>
#include <string>

namespace evenkeel::cuda {
namespace {

[[noreturn]] void fail(const char* name, const LaunchConfig& config, const std::string& why) {
  throw std::runtime_error(std::string("kernel ") + name + " was not launched with " +
                           std::to_string(config.blocks) + " blocks of " + std::to_string(config.threads) +
                           " threads and " + std::to_string(config.shared) +
                           " bytes of shared memory: " + why);
}

/// The scratch memory of one stream.
struct Workspace {
  void* memory = nullptr;
  std::int64_t bytes = 0;
};

}  // namespace

void check_config(const char* name, const LaunchConfig& config) {
  if (config.blocks < 0 || config.blocks > INT32_MAX)
    fail(name, config, "a grid has at most 2^31 - 1 blocks; the tensor is too large");
}

void check_launch(const char* name, const LaunchConfig& config, cudaError_t error) {
  if (error != cudaSuccess)
    fail(name, config, std::string(cudaGetErrorString(error)) + " (" + cudaGetErrorName(error) + ")");
}

void* workspace(Stream stream, std::int64_t bytes) {
  static std::mutex mutex;
  static auto* workspaces = new std::map<Stream, Workspace>;
  const std::lock_guard lock(mutex);
  Workspace& w = (*workspaces)[stream];
  if (w.bytes < bytes) {
    cudaFree(w.memory);  // waits for the kernels that use it
    w = {};
    const cudaError_t error = cudaMalloc(&w.memory, static_cast<std::size_t>(bytes));
    if (error != cudaSuccess)
      throw std::runtime_error("no " + std::to_string(bytes) +
                               " bytes of scratch memory on the GPU: " + cudaGetErrorString(error));
    w.bytes = bytes;
  }
  return w.memory;
}

}  // namespace evenkeel::cuda
