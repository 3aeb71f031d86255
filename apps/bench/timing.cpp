#include "bench/timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <thread>

#include "bench/barriers.h"
#include "console.h"
#include "evenkeel/core/cuda.h"
#include "evenkeel/core/dispatch.h"
#include "evenkeel/kernels/elementwise.h"
#include "program.h"

namespace evenkeel::bench {
namespace {

using app::Stopwatch;

/// How many of this process's threads run or want to (state R in Linux's /proc).
std::int64_t running_threads() {
  std::int64_t running = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string line;
    std::getline(std::ifstream(task.path() / "stat"), line);
    const std::size_t name_end = line.rfind(')');  // "pid (name) state ..."
    running += name_end + 2 < line.size() && line[name_end + 2] == 'R';
  }
  return running;
}

/// Waits until the idle threads of the contender before sleep: they may spin for milliseconds, as OpenMP's
/// do, on processors that the next one needs. Gives up after 100 ms, as some are told to spin for ever. So
/// every cold call wakes its threads.
void settle() {
  for (int i = 0; i < 100; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (running_threads() == 1) return;  // this one
  }
}

/// Calls of a contender in a row. On a CUDA device they are launches of graphs of several, so that the host's
/// time for a launch does not count.
class CallsInARow {
 public:
  explicit CallsInARow(const Contender& c) : contender_(c) {
    if constexpr (kCudaEnabled) {
      if (!c.device.is_cuda()) return;
      graph_ = std::make_shared<CudaGraph>(c.device.index, [&] {
        for (int i = 0; i < kCallsAGraph; ++i) c.call();
      });
    }
  }

  /// Seconds a call, of at least so many.
  double seconds(std::int64_t calls) const {
    const std::int64_t at_once = graph_ != nullptr ? kCallsAGraph : 1,
                       times = (calls + at_once - 1) / at_once;
    const Stopwatch clock;
    for (std::int64_t i = 0; i < times; ++i) call();
    wait_for(contender_.device);
    return clock.seconds() / static_cast<double>(times * at_once);
  }

  /// How many calls fill a sample.
  std::int64_t calls_for(double min_time) const {
    std::int64_t calls = 1;
    for (;;) {
      const double total = seconds(calls) * static_cast<double>(calls);
      if (total >= min_time) return calls;
      const double factor = std::clamp(1.2 * min_time / std::max(total, 1e-9), 2.0, 100.0);
      calls = static_cast<std::int64_t>(std::ceil(static_cast<double>(calls) * factor));
    }
  }

 private:
  static constexpr int kCallsAGraph = 16;

  void call() const {
    if constexpr (kCudaEnabled) {
      if (graph_ != nullptr) return graph_->launch();
    }
    contender_.call();
  }

  const Contender& contender_;
  std::shared_ptr<CudaGraph> graph_;
};

/// The seconds of one call.
double cold_seconds(const Contender& c) {
  if constexpr (kCudaEnabled) {
    if (c.device.is_cuda()) {
      const cuda::Event start = cuda::record_event(c.device.index);
      c.call();
      return cuda::seconds_between(start, cuda::record_event(c.device.index));
    }
  }
  settle();
  const Stopwatch clock;
  c.call();
  return clock.seconds();
}

}  // namespace

Statistics statistics(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const auto quantile = [&](double q) {
    const double position = q * static_cast<double>(samples.size() - 1);
    const auto below = static_cast<std::size_t>(position);
    const std::size_t above = std::min(below + 1, samples.size() - 1);
    return std::lerp(samples[below], samples[above], position - static_cast<double>(below));
  };
  return {quantile(0.5), quantile(0.1), quantile(0.9)};
}

void to_json(nlohmann::json& json, const Statistics& s) {
  json = {{"median", s.median}, {"p10", s.p10}, {"p90", s.p90}};
}

void wait_for(Device device) {
  if constexpr (kCudaEnabled) {
    if (device.is_cuda()) synchronize(device);
  }
}

CacheFlush::CacheFlush(Device device)
    : a_(ones({kBytes / 4}, {DType::f32, device})), b_(ones({kBytes / 4}, {DType::f32, device})) {}

void CacheFlush::operator()() {
  const AxpyArgs<float> args{
      .y = a_.mutable_data<float>(), .x = b_.data<float>(), .alpha = 1e-3, .n = a_.numel()};
  run_kernel<cpu::axpy<float>, cuda::axpy<float>>("axpy", a_.device(), args);
  wait_for(a_.device());
}

double smallest_node(Device device) {
  Tensor x = ones({1}, {DType::f32, device});
  const AxpyArgs<float> args{.y = x.mutable_data<float>(), .x = x.data<float>(), .alpha = 0, .n = 1};
  const Contender node{"", [&] { run_kernel<cpu::axpy<float>, cuda::axpy<float>>("axpy", device, args); },
                       device};
  node.call();
  const CallsInARow nodes(node);
  double best = nodes.seconds(1024);
  for (int i = 0; i < 10; ++i) best = std::min(best, nodes.seconds(1024));
  return best;
}

BarrierTimes barrier_times([[maybe_unused]] Device device) {
  if constexpr (kCudaEnabled) {
    constexpr int kTries = 11, kBarriers = 2000;               // so many that the launch does not count
    const Tensor arrivals = zeros({1}, {DType::f32, device});  // whose bits are 0
    const BarriersArgs args{.arrivals = reinterpret_cast<unsigned*>(arrivals.storage().data()),
                            .blocks = cuda_device_properties(device.index).multiprocessors,
                            .count = kBarriers};
    const Stream stream = current_stream(device.index);
    const auto seconds = [&](const std::function<bool()>& enqueue) -> std::optional<double> {
      if (!enqueue()) return std::nullopt;
      double best = std::numeric_limits<double>::infinity();
      for (int i = 0; i < kTries; ++i) {
        const cuda::Event start = cuda::record_event(device.index);
        enqueue();
        best = std::min(best, cuda::seconds_between(start, cuda::record_event(device.index)));
      }
      return best / kBarriers;
    };
    return {.grid_group = seconds([&] { return grid_group_barriers(args, stream), true; }),
            .cooperative_groups = seconds([&] { return cooperative_groups_barriers(args, stream); })};
  }
  return {};
}

std::vector<Timing> time_in_turn(const std::vector<Contender>& contenders, CacheFlush& flush,
                                 const Effort& effort) {
  const std::size_t n = contenders.size();
  std::vector<std::vector<double>> cold(n), warm(n);
  std::vector<CallsInARow> rows;
  std::vector<std::int64_t> calls;
  for (const Contender& c : contenders) calls.push_back(rows.emplace_back(c).calls_for(effort.min_time));
  for (int i = 0; i < effort.repeat; ++i) {
    app::stop_if_signalled("between two measurements");
    for (std::size_t k = 0; k < n; ++k) {
      flush();
      cold[k].push_back(cold_seconds(contenders[k]));
    }
    for (std::size_t k = 0; k < n; ++k) {
      if (n > 1 && contenders[k].device.is_cpu()) settle();
      rows[k].seconds(1);
      warm[k].push_back(rows[k].seconds(calls[k]));
    }
  }
  std::vector<Timing> timings;
  for (std::size_t k = 0; k < n; ++k) timings.push_back({statistics(cold[k]), statistics(warm[k])});
  return timings;
}

}  // namespace evenkeel::bench
