// The emulated runtime API, and the device's memory as the host sees it.
#include <cuda_runtime.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "catch.h"
#include "evenkeel/simt/asan.h"
#include "evenkeel/simt/memory.h"
#include "simt/device_array.h"

using namespace simt::test;

namespace {

/// Sets an environment variable for a while.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Environment() { unsetenv(name_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
};

/// The signal that ends a process which reads or writes `p`, or 0.
[[maybe_unused]] int signal_of_access(volatile int* p, bool write) {
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGSEGV, SIG_DFL);  // Catch2 would report it
    if (write) *p = 1;
    _exit(*p == 12345 ? 1 : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

cudaError_t copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}

__global__ void set(int* y) { y[threadIdx.x] = 1; }

}  // namespace

#ifndef SIMT_ASAN
TEST_CASE("the host cannot touch the device's memory") {
  const DeviceArray<int> y(32);
  CHECK(signal_of_access(y.data(), false) == SIGSEGV);
  launch_1d(1, 32, set, y.data());
  CHECK(signal_of_access(y.data(), false) == SIGSEGV);
  CHECK(signal_of_access(y.data(), true) == SIGSEGV);
  CHECK(y.values() == std::vector<int>(32, 1));
  int local = 0;
  CHECK(signal_of_access(&local, true) == 0);
  CHECK(failure_of([&] { simt::launch({"test", {0, 1, 1}, {1, 1, 1}, 0}, set, y.data()); }) != "no failure");
  CHECK(signal_of_access(y.data(), false) == SIGSEGV);
}
#endif

TEST_CASE("memory is NaN bytes at first, also when it is used again") {
  for (int i = 0; i < 3; ++i) {
    const DeviceArray<int> y(32);
    CHECK(y.values() == std::vector<int>(32, -1));
    launch_1d(1, 32, set, y.data());
  }
}

TEST_CASE("copies") {
  const DeviceArray<int> a(iota<int>(100)), b(100);
  std::vector<int> host(100);
  CHECK(copy(b.data(), a.data(), 400, cudaMemcpyDeviceToDevice) == cudaSuccess);
  CHECK(b.values() == iota<int>(100));
  CHECK(copy(host.data(), b.data() + 99, 4, cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(host[0] == 99);
  CHECK(copy(nullptr, nullptr, 0, cudaMemcpyDeviceToHost) == cudaSuccess);

  CHECK(copy(host.data(), a.data(), 401, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(copy(host.data(), a.data(), ~std::size_t{0}, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(copy(host.data(), a.data() + 99, 8, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(copy(host.data(), host.data(), 4, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(copy(a.data(), b.data(), 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(copy(a.data(), b.data(), 4, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(copy(a.data(), host.data(), 4, cudaMemcpyDeviceToDevice) == cudaErrorInvalidValue);
  CHECK(copy(nullptr, host.data(), 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(a.values() == iota<int>(100));
}

TEST_CASE("allocations") {
  void* p = nullptr;
  REQUIRE(cudaMalloc(&p, 1000) == cudaSuccess);
  CHECK(reinterpret_cast<std::uintptr_t>(p) % 256 == 0);
  int host = 0;
  CHECK(cudaFree(nullptr) == cudaSuccess);
  CHECK(cudaFree(&host) == cudaErrorInvalidValue);
  CHECK(cudaFree(static_cast<char*>(p) + 4) == cudaErrorInvalidValue);
  CHECK(cudaFree(p) == cudaSuccess);
  CHECK(cudaFree(p) == cudaErrorInvalidValue);
  CHECK(copy(&host, p, 4, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaMalloc(&p, std::size_t{1} << 40) == cudaErrorMemoryAllocation);
  CHECK(cudaMalloc(&p, ~std::size_t{0}) == cudaErrorMemoryAllocation);
  CHECK(p == nullptr);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
}

TEST_CASE("machines without a device") {
  int count = 7;
  cudaDeviceProp properties{};
  {
    const Environment none("SIMT_DEVICES", "0");
    CHECK(cudaGetDeviceCount(&count) == cudaErrorNoDevice);
    CHECK(cudaSetDevice(0) == cudaErrorInvalidDevice);
    CHECK(cudaGetDeviceProperties(&properties, 0) == cudaErrorInvalidDevice);
  }
  {
    const Environment no_driver("SIMT_DEVICES", "-1");
    CHECK(cudaGetDeviceCount(&count) == cudaErrorInsufficientDriver);
  }
  CHECK(count == 7);
  CHECK(cudaGetDeviceCount(&count) == cudaSuccess);
  CHECK(count == 1);
  CHECK(cudaSetDevice(0) == cudaSuccess);
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
  CHECK(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  CHECK(properties.major == 9);
  int cooperative = 0, multiprocessors = 0;
  CHECK(cudaDeviceGetAttribute(&cooperative, cudaDevAttrCooperativeLaunch, 0) == cudaSuccess);
  CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0) == cudaSuccess);
  CHECK(cooperative == properties.cooperativeLaunch);
  CHECK(multiprocessors == properties.multiProcessorCount);
  cudaGetLastError();
}
