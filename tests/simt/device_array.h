// What the executor's own tests share: arrays on the emulated device, and launches that are expected to fail.
#pragma once

#include <cuda_runtime.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace simt::test {

/// Device memory for `size` values, NaN bytes until assigned.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t size) : size_(size) { allocate(); }
  explicit DeviceArray(const std::vector<T>& values) : size_(values.size()) {
    allocate();
    check(cudaMemcpyAsync(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice, nullptr));
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return data_; }
  std::vector<T> values() const {
    std::vector<T> values(size_);
    check(cudaMemcpyAsync(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost, nullptr));
    return values;
  }

 private:
  static void check(cudaError_t error) {
    if (error != cudaSuccess) std::abort();
  }
  void allocate() {
    void* pointer = nullptr;
    check(cudaMalloc(&pointer, size_ * sizeof(T)));
    data_ = static_cast<T*>(pointer);
  }

  std::size_t size_;
  T* data_ = nullptr;
};

/// 0, 1, 2, ... as T.
template <typename T>
std::vector<T> iota(std::size_t size) {
  std::vector<T> values(size);
  for (std::size_t i = 0; i < size; ++i) values[i] = static_cast<T>(i);
  return values;
}

/// The message of the Failure that run() ends in, or "no failure".
template <typename Run>
std::string failure_of(const Run& run) {
  try {
    run();
  } catch (const Failure& failure) {
    return failure.what();
  }
  return "no failure";
}

/// That run() launches the kernel "test", which fails with a message that has this part.
#define CHECK_FAILS(run, part)                             \
  do {                                                     \
    const std::string message = failure_of([&] { run; });  \
    CAPTURE(message);                                      \
    CHECK(message.find(part) != std::string::npos);        \
    CHECK(message.find("kernel test: ") == 0);             \
    CHECK(message.find("kernel", 1) == std::string::npos); \
  } while (false)

/// Launches one-dimensionally.
template <typename... Parameters, typename... Arguments>
void launch_1d(unsigned blocks, unsigned threads, void (*kernel)(Parameters...),
               const Arguments&... arguments) {
  launch({"test", {blocks, 1, 1}, {threads, 1, 1}, 0}, kernel, arguments...);
}
/// Launches one-dimensionally `groups` grid groups of `blocks` blocks each.
template <typename... Parameters, typename... Arguments>
void launch_grid_groups(unsigned groups, unsigned blocks, unsigned threads, void (*kernel)(Parameters...),
                        const Arguments&... arguments) {
  launch({"test", {groups * blocks, 1, 1}, {threads, 1, 1}, 0, nullptr, blocks}, kernel, arguments...);
}

}  // namespace simt::test
