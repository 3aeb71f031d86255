// What the device can do at most, measured in this process: the header of the table.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench/timing.h"
#include "core/device.h"
#include "core/dtype.h"

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

/// Operations a second of fused multiply-adds in registers, on all threads.
template <typename T>
double fma_peak();

}  // namespace evenkeel::bench
