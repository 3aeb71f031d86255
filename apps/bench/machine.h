// What the device can do at most, measured in this process: the header of the table.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench/timing.h"
#include "evenkeel/core/device.h"
#include "evenkeel/core/dtype.h"

namespace evenkeel::bench {

/// A figure that is not measured is absent.
struct Machine {
  Device device;
  std::string name, clock, isa;
  int threads = 0;                           // of the CPU
  std::optional<double> load;                // processes that wanted a processor before this one began
  std::optional<double> copy, copy_cached;   // bytes read and written a second
  std::optional<double> node;                // seconds of the smallest node of a CUDA graph
  BarrierTimes barrier;                      // of a CUDA device
  std::optional<double> peak_f32, peak_f64;  // operations a second, a fused multiply-add counts as two

  std::optional<double> peak(DType dtype) const { return dtype == DType::f64 ? peak_f64 : peak_f32; }
  std::vector<std::string> lines() const;
  nlohmann::json json() const;
};

Machine measure_machine(Device device);

/// Sets the number of threads while it lives.
class WithThreads {
 public:
  explicit WithThreads(int n) : before_(num_threads()) { set_num_threads(n); }
  ~WithThreads() { set_num_threads(before_); }
  WithThreads(const WithThreads&) = delete;
  WithThreads& operator=(const WithThreads&) = delete;

 private:
  int before_;
};

/// The most operations a second of multiply-adds in registers of the instruction set in use, on one thread or
/// on all of num_threads().
template <typename T>
double fma_peak();

/// null stands for what was not measured.
nlohmann::json number_or_null(std::optional<double> value);

}  // namespace evenkeel::bench
