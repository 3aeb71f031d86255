#include "evenkeel/kernels/cuda/simt.h"

#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

namespace evenkeel::cuda {
namespace {

[[noreturn]] void fail(const char* name, const LaunchConfig& config, const std::string& why) {
  throw std::runtime_error(std::string("kernel ") + name + " was not launched with " +
                           std::to_string(config.blocks) + " blocks of " + std::to_string(config.threads) +
                           " threads and " + std::to_string(config.shared) +
                           " bytes of shared memory: " + why);
}

/// The scratch memory of one stream: the last block, which has `bytes`; the others are those that captured
/// kernels use.
struct Workspace {
  std::vector<void*> blocks;
  std::int64_t bytes = 0;
};

std::mutex mutex;
std::map<Stream, Workspace>& workspaces() {
  static auto* all = new std::map<Stream, Workspace>;
  return *all;
}

void free_blocks(Workspace& w) {
  for (void* block : w.blocks) cudaFree(block);  // waits for the kernels that use it
  w = {};
}

bool is_captured(Stream stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  return cudaStreamIsCapturing(stream, &status) == cudaSuccess && status != cudaStreamCaptureStatusNone;
}

/// Device memory, also while a graph is captured, which records nothing of it.
cudaError_t allocate(void** memory, std::int64_t bytes) {
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  cudaThreadExchangeStreamCaptureMode(&mode);
  const cudaError_t error = cudaMalloc(memory, static_cast<std::size_t>(bytes));
  cudaThreadExchangeStreamCaptureMode(&mode);
  return error;
}

}  // namespace

void check_config(const char* name, const LaunchConfig& config) {
  if (config.blocks < 0 || config.blocks > INT32_MAX)
    fail(name, config, "a grid has at most 2^31 - 1 blocks; the tensor is too large");
  if (config.grid_group < 1 || config.blocks % config.grid_group != 0 || config.cluster < 1 ||
      config.grid_group % config.cluster != 0)
    fail(name, config,
         "they do not fit into grid groups of " + std::to_string(config.grid_group) + " and clusters of " +
             std::to_string(config.cluster));
}

void check_launch(const char* name, const LaunchConfig& config, cudaError_t error) {
  if (error != cudaSuccess)
    fail(name, config, std::string(cudaGetErrorString(error)) + " (" + cudaGetErrorName(error) + ")");
}

void* workspace(Stream stream, std::int64_t bytes) {
  const std::lock_guard lock(mutex);
  Workspace& w = workspaces()[stream];
  if (w.bytes < bytes || w.blocks.empty()) {
    if (!is_captured(stream)) free_blocks(w);
    void* memory = nullptr;
    const cudaError_t error = allocate(&memory, bytes);
    if (error != cudaSuccess) {
      cudaGetLastError();  // so that the next launch does not report it again
      throw std::runtime_error("no " + std::to_string(bytes) +
                               " bytes of scratch memory on the GPU: " + cudaGetErrorString(error));
    }
    w.blocks.push_back(memory);
    w.bytes = bytes;
  }
  return w.blocks.back();
}

void release_workspace(Stream stream) {
  const std::lock_guard lock(mutex);
  const auto found = workspaces().find(stream);
  if (found == workspaces().end()) return;
  free_blocks(found->second);
  workspaces().erase(found);
}

std::int64_t most_shared_memory() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess)
    return 0;
  return bytes;
}

}  // namespace evenkeel::cuda
