// Where a tensor lives.
#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>

#include "evenkeel/kernels/common.h"

struct CUevent_st;

namespace evenkeel {

/// A CPU, or CUDA device `index`. A value: cheap to copy and compare.
struct Device {
  enum class Type { cpu, cuda };

  Type type = Type::cpu;
  int index = 0;

  static constexpr Device cpu() { return {}; }
  static constexpr Device cuda(int index = 0) { return {Type::cuda, index}; }
  /// The first CUDA device if there is one, else the CPU.
  static Device best();
  /// Reads "auto", "cpu", "cuda" or "cuda:N". Throws Error on anything else.
  static Device parse(std::string_view text);

  constexpr bool is_cpu() const { return type == Type::cpu; }
  constexpr bool is_cuda() const { return type == Type::cuda; }
  /// Throws DeviceError, with the reason, unless tensors can be placed here.
  void require_available() const;
  std::string str() const;

  friend constexpr bool operator==(Device, Device) = default;
};

/// What became of the search for CUDA devices: their number and, where it is zero, why.
struct CudaDevices {
  int count = 0;
  std::string reason;
};
/// Looks once; CUDA_VISIBLE_DEVICES hides devices.
const CudaDevices& cuda_devices();

/// The stream that ops of CUDA device `index` are enqueued on. Defined in CUDA builds only.
Stream current_stream(int index);

/// True while this thread records a CudaGraph (core/cuda.h) on the device.
bool is_capturing(Device device);

/// The number of CPU threads that ops use: OMP_NUM_THREADS at the start. Results do not depend on it. fork()
/// copies no threads: a child of a process whose ops have used several computes on one from then on.
int num_threads();
/// Takes effect for ops that begin later; it may be called while other threads compute. Throws Error unless
/// n >= 1.
void set_num_threads(int n);

/// Around an op: a range of its name for NVIDIA's profilers (NVTX), and its time if there is a Profile
/// (core/profile.h).
class OpScope {
 public:
  OpScope(const char* op, Device device) : op_(op), device_(device) {
    if (kCudaEnabled || profiling.load(std::memory_order_relaxed)) begin();
  }
  ~OpScope() {
    if (kCudaEnabled || timed_) end();
  }
  OpScope(const OpScope&) = delete;
  OpScope& operator=(const OpScope&) = delete;

  static inline std::atomic<bool> profiling = false;

 private:
  void begin();
  void end();

  const char* op_;
  Device device_;
  bool timed_ = false;
  std::chrono::steady_clock::time_point start_{};
  CUevent_st* start_event_ = nullptr;
};

}  // namespace evenkeel
