// How many warps of each kernel an H200's multiprocessor holds at once, by NVIDIA's own calculator, from the
// registers and static shared memory that kernel_budget.csv allows. Memory-bound kernels need about half of
// the 64 to keep enough loads in flight; kernels with much arithmetic on registers do with fewer.
#include <cuda_occupancy.h>

#include <fstream>
#include <string>

#include "catch.h"

namespace {

constexpr int kPlannedWarps = 32;

/// Kernels that are planned with fewer warps, by the start of their names, and why.
struct Exception {
  const char* prefix;
  int warps;
  const char* reason;
};
constexpr Exception kExceptions[] = {
    {"conv2d", 8, "accumulators in registers: each value loaded is used many times"},
    {"fused_block: fused_gradient_sums", 64, "sums of columns: nothing but loads"},
    {"one_kernel_", 12, "an image a block: one block a multiprocessor, whose shared memory it fills"},
    {"fused_block: ", 16, "an image a block, in shared memory: two blocks a multiprocessor at most"},
    {"matmul", 16, "accumulators in registers: each value loaded is used many times"},
    {"batch_norm: ", 16, "up to 32 loads in flight a thread"},
    {"group_norm: ", 16, "a thread's part of dy and x in registers: up to 32 loads in flight"},
    {"layer_norm: ", 24, "a thread's part of dy, x, dgamma and dbeta in registers: 16 loads in flight"},
    {"layer_norm2d: ", 8, "a pixel's channels in registers: 32 loads in flight a thread"},
};

int planned_warps(const std::string& kernel) {
  for (const Exception& e : kExceptions) {
    if (kernel.starts_with(e.prefix)) return e.warps;
  }
  return kPlannedWarps;
}

cudaOccDeviceProp h200() {
  cudaOccDeviceProp p;
  p.computeMajor = 9;
  p.computeMinor = 0;
  p.maxThreadsPerBlock = 1024;
  p.maxThreadsPerMultiprocessor = 2048;
  p.regsPerBlock = 65536;
  p.regsPerMultiprocessor = 65536;
  p.warpSize = 32;
  p.sharedMemPerBlock = 48 * 1024;
  p.sharedMemPerMultiprocessor = 228 * 1024;
  p.sharedMemPerBlockOptin = 227 * 1024;
  p.reservedSharedMemPerBlock = 1024;
  p.numSms = 132;
  return p;
}

int active_warps(int registers, std::size_t shared, int threads) {
  const cudaOccDeviceProp device = h200();
  cudaOccFuncAttributes kernel;
  kernel.maxThreadsPerBlock = threads;
  kernel.numRegs = registers;
  kernel.sharedSizeBytes = shared;
  kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
  kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  kernel.maxDynamicSharedSizeBytes = device.sharedMemPerBlockOptin - shared;
  const cudaOccDeviceState state;
  cudaOccResult result{};
  REQUIRE(cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, 0) ==
          CUDA_OCC_SUCCESS);
  return result.activeBlocksPerMultiprocessor * threads / 32;
}

}  // namespace

TEST_CASE("NVIDIA's calculator is asked the right way") {
  CHECK(active_warps(32, 0, 256) == 64);
  CHECK(active_warps(255, 0, 256) == 8);
  CHECK(active_warps(32, 100 * 1024, 256) == 16);
}

TEST_CASE("every kernel has the warps in flight that it is planned with") {
  std::ifstream file(EK_KERNEL_BUDGET);
  REQUIRE(file);
  std::string line;
  std::getline(file, line);
  REQUIRE(line == "kernel,registers,shared,threads");
  int kernels = 0;
  while (std::getline(file, line)) {
    // The name may hold commas; the three numbers do not.
    int numbers[3];
    for (int i = 2; i >= 0; --i) {
      const auto comma = line.rfind(',');
      numbers[i] = std::stoi(line.substr(comma + 1));
      line.resize(comma);
    }
    const std::string name = line.starts_with('"') ? line.substr(1, line.size() - 2) : line;
    const int warps = active_warps(numbers[0], static_cast<std::size_t>(numbers[1]), numbers[2]);
    INFO(name << ": " << warps << " of 64 warps, " << planned_warps(name) << " planned");
    CHECK(warps >= planned_warps(name));
    ++kernels;
  }
  CHECK(kernels > 100);
}
