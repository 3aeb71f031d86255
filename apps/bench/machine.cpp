#include "bench/machine.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>

#include "bench/timing.h"
#include "console.h"
#include "device_name.h"
#include "evenkeel/core/tensor.h"
#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/kernels/elementwise.h"
#include "evenkeel/kernels/isa.h"

namespace evenkeel::bench {
namespace {

std::string clock_of_cpu() {
  std::ifstream file("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
  std::int64_t most = 0;
  file >> most;
  const std::string now = app::cpuinfo("cpu MHz");
  if (now.empty() && most == 0) return "clock not known";
  return fmt::format("{}{}", now.empty() ? "" : now + " MHz now",
                     most > 0 ? fmt::format(", {} MHz at most", most / 1000) : "");
}

/// The load of the CPU, averaged over a minute.
std::optional<double> load_of_cpu() {
  std::ifstream file("/proc/loadavg");
  double load = 0;
  return file >> load ? std::optional(load) : std::nullopt;
}

/// Copies n floats by all threads; on a CPU in pieces of `piece` bytes, each by one thread.
void copy_all(Tensor& to, const Tensor& from, std::int64_t piece) {
  if (!to.device().is_cpu()) {
    to.copy_(from);
    return;
  }
  const std::int64_t bytes = from.storage().bytes();
  std::byte* y = to.storage().data();
  const std::byte* x = from.storage().data();
  cpu::parallel_for((bytes + piece - 1) / piece, piece, [=](std::int64_t i) {
    std::memcpy(y + i * piece, x + i * piece, static_cast<std::size_t>(std::min(piece, bytes - i * piece)));
  });
}

/// Bytes read and written a second by the fastest of several copies between two arrays of `bytes` each, on
/// one thread and on all.
double copy_bandwidth(Device device, std::int64_t bytes, int copies) {
  constexpr int kTries = 9;
  const Tensor from = ones({bytes / 4}, {DType::f32, device});
  Tensor to = zeros_like(from);
  double best = 0;
  const int all = num_threads();
  for (const int threads : device.is_cpu() && all > 1 ? std::vector{1, all} : std::vector{all}) {
    const WithThreads on(threads);
    const std::int64_t share = (bytes + threads - 1) / threads;
    for (const std::int64_t piece : {std::min<std::int64_t>(share, 256 * 1024), share}) {
      for (int i = 0; i < kTries; ++i) {
        const app::Stopwatch clock;
        for (int k = 0; k < copies; ++k) copy_all(to, from, piece);
        wait_for(device);
        best = std::max(best, 2.0 * static_cast<double>(bytes) * copies / clock.seconds());
      }
    }
  }
  return best;
}

/// What nvidia-smi says of the clocks; devices are numbered there as CUDA numbers them unless some are
/// hidden.
std::string clock_of_gpu(int index) {
  const std::string command = fmt::format(
      "nvidia-smi -i {} --query-gpu=clocks.sm,clocks.max.sm,driver_version --format=csv,noheader,nounits "
      "2>/dev/null",
      index);
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), &pclose);
  int now = 0, most = 0;
  std::array<char, 64> driver{};
  if (pipe == nullptr || std::fscanf(pipe.get(), "%d, %d, %63s", &now, &most, driver.data()) != 3)
    return "clock not known";
  return fmt::format("{} MHz now, {} MHz at most, driver {}", now, most, driver.data());
}

std::string figure(std::optional<double> value, const char* unit) {
  return value ? fmt::format("{:.1f} {}", *value / 1e9, unit) : "not measured";
}

std::string microseconds(std::optional<double> seconds) {
  return seconds ? fmt::format("{:.2f} us", 1e6 * *seconds) : "not measured";
}

}  // namespace

nlohmann::json number_or_null(std::optional<double> value) {
  return value ? nlohmann::json(*value) : nullptr;
}

std::vector<std::string> Machine::lines() const {
  std::vector<std::string> facts{name, clock};
  if (!isa.empty()) facts.push_back(isa);
  facts.push_back(fmt::format("{} CPU thread{}", threads, threads == 1 ? "" : "s"));
  if (load) facts.push_back(fmt::format("load {:.2f} before this run", *load));
  if (device.is_cuda()) {
    return {fmt::format("{}: {}", device.str(), fmt::join(facts, ", ")),
            fmt::format("copy: {} (2 x 128 MiB)", figure(copy, "GB/s")),
            fmt::format("smallest node of a CUDA graph: {}", microseconds(node)),
            fmt::format("barrier of a block on each multiprocessor: {}; of cooperative groups: {}",
                        microseconds(barrier.grid_group), microseconds(barrier.cooperative_groups))};
  }
  return {
      fmt::format("{}: {}", device.str(), fmt::join(facts, ", ")),
      fmt::format("copy: {} (2 x 128 MiB), {} (in cache)", figure(copy, "GB/s"), figure(copy_cached, "GB/s")),
      fmt::format("multiply-add peak: {} f32, {} f64", figure(peak_f32, "GFLOP/s"),
                  figure(peak_f64, "GFLOP/s"))};
}

nlohmann::json Machine::json() const {
  nlohmann::json out = {{"device", device.str()},
                        {"name", name},
                        {"clock", clock},
                        {"vectors", isa},
                        {"threads", threads},
                        {"load", number_or_null(load)},
                        {"copy_bytes_per_s", number_or_null(copy)},
                        {"copy_cached_bytes_per_s", number_or_null(copy_cached)},
                        {"peak_f32_flops", number_or_null(peak_f32)},
                        {"peak_f64_flops", number_or_null(peak_f64)}};
  if (device.is_cuda()) {
    out["graph_node_s"] = number_or_null(node);
    out["barrier_s"] = number_or_null(barrier.grid_group);
    out["cooperative_groups_barrier_s"] = number_or_null(barrier.cooperative_groups);
  }
  return out;
}

Machine measure_machine(Device device) {
  Machine m;
  m.device = device;
  m.threads = num_threads();
  m.load = load_of_cpu();
  m.copy = copy_bandwidth(device, CacheFlush::kBytes, device.is_cpu() ? 1 : 10);
  m.name = app::device_name(device);
  if (device.is_cpu()) {
    m.clock = clock_of_cpu();
    m.isa = cpu::name_of(cpu::isa());
    m.copy_cached = copy_bandwidth(device, 128 * 1024 * m.threads, 200);
    m.peak_f32 = fma_peak<float>();
    m.peak_f64 = fma_peak<double>();
  } else {
    m.clock = clock_of_gpu(device.index);
    m.node = smallest_node(device);
    m.barrier = barrier_times(device);
  }
  return m;
}

}  // namespace evenkeel::bench
