#include "bench/timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <thread>

#include "console.h"
#include "core/cuda.h"
#include "kernels/elementwise.h"
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

double seconds_of(const Contender& c, std::int64_t calls) {
  const Stopwatch clock;
  for (std::int64_t i = 0; i < calls; ++i) c.call();
  c.wait();
  return clock.seconds() / static_cast<double>(calls);
}

/// How many calls fill a sample.
std::int64_t calls_for(const Contender& c, double min_time) {
  std::int64_t calls = 1;
  for (;;) {
    const double total = seconds_of(c, calls) * static_cast<double>(calls);
    if (total >= min_time) return calls;
    const double factor = std::clamp(1.2 * min_time / std::max(total, 1e-9), 2.0, 100.0);
    calls = static_cast<std::int64_t>(std::ceil(static_cast<double>(calls) * factor));
  }
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
  EK_DISPATCH(a_.device(), axpy, args);
  wait_for(a_.device());
}

std::vector<Timing> time_in_turn(const std::vector<Contender>& contenders, CacheFlush& flush,
                                 const Effort& effort) {
  const std::size_t n = contenders.size();
  std::vector<std::vector<double>> cold(n), warm(n);
  std::vector<std::int64_t> calls;
  for (const Contender& c : contenders) calls.push_back(calls_for(c, effort.min_time));
  for (int i = 0; i < effort.repeat; ++i) {
    app::stop_if_signalled("between two measurements");
    for (std::size_t k = 0; k < n; ++k) {
      flush();
      settle();
      cold[k].push_back(seconds_of(contenders[k], 1));
    }
    for (std::size_t k = 0; k < n; ++k) {
      if (n > 1) settle();
      seconds_of(contenders[k], 1);
      warm[k].push_back(seconds_of(contenders[k], calls[k]));
    }
  }
  std::vector<Timing> timings;
  for (std::size_t k = 0; k < n; ++k) timings.push_back({statistics(cold[k]), statistics(warm[k])});
  return timings;
}

}  // namespace evenkeel::bench
