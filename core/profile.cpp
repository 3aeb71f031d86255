#include "core/profile.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/cuda.h"
#include "core/error.h"

namespace evenkeel {
namespace {

/// An op on a CUDA device whose events may not have happened yet.
struct Pending {
  const char* op;
  cuda::Event start, end;
};
constexpr std::size_t kMostPending = 4096;

struct Times {
  std::map<std::string, OpTime> of_op;
  std::vector<Pending> pending;

  void add(const char* op, double seconds) {
    OpTime& time = of_op[op];
    ++time.count;
    time.seconds += seconds;
  }
  void settle() {
    if constexpr (kCudaEnabled) {
      for (const Pending& p : std::exchange(pending, {})) add(p.op, cuda::seconds_between(p.start, p.end));
    }
  }
};

Times& times_so_far() {
  static Times times;
  return times;
}

}  // namespace

void OpScope::begin() {
  if constexpr (kCudaEnabled) cuda::begin_range(op_);
  timed_ = profiling && !is_capturing(device_);
  if (!timed_) return;
  if (times_so_far().pending.size() >= kMostPending) times_so_far().settle();
  if constexpr (kCudaEnabled) {
    if (device_.is_cuda()) start_event_ = cuda::record_event(device_.index);
  }
  start_ = std::chrono::steady_clock::now();
}

void OpScope::end() {
  if constexpr (kCudaEnabled) cuda::end_range();
  if (!timed_) return;
  Times& times = times_so_far();
  if (device_.is_cpu()) {
    times.add(op_, std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count());
    return;
  }
  if constexpr (kCudaEnabled) {
    times.pending.push_back({op_, start_event_, cuda::record_event(device_.index)});
  }
}

Profile::Profile() {
  EK_CHECK(!OpScope::profiling, "Profile: there is one already; end it first");
  times_so_far() = {};
  OpScope::profiling = true;
}

Profile::~Profile() { OpScope::profiling = false; }

std::vector<OpTime> Profile::times() const {
  times_so_far().settle();
  std::vector<OpTime> all;
  for (const auto& [op, time] : times_so_far().of_op) all.push_back({op, time.count, time.seconds});
  std::sort(all.begin(), all.end(), [](const OpTime& a, const OpTime& b) { return a.seconds > b.seconds; });
  return all;
}

}  // namespace evenkeel
