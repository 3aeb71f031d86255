#include "evenkeel/core/profile.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "evenkeel/base/error.h"
#include "evenkeel/base/mutex.h"
#include "evenkeel/core/cuda.h"

namespace evenkeel {
namespace {

/// An op on a CUDA device whose events may not have happened yet.
struct Pending {
  const char* op;
  cuda::Event start, end;
};
constexpr std::size_t kMostPending = 4096;

struct Times {
  Mutex mutex;  // of all that follows
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

/// Never destroyed, as ops may run after other statics are gone.
Times& times_so_far() {
  static auto* times = new Times;
  return *times;
}

}  // namespace

void OpScope::begin() {
  if constexpr (kCudaEnabled) cuda::begin_range(op_);
  timed_ = profiling && !is_capturing(device_);
  if (!timed_) return;
  if constexpr (kCudaEnabled) {
    Times& times = times_so_far();
    const std::lock_guard lock(times.mutex);
    if (times.pending.size() >= kMostPending) times.settle();
  }
  if constexpr (kCudaEnabled) {
    if (device_.is_cuda()) start_event_ = cuda::record_event(device_.index);
  }
  start_ = std::chrono::steady_clock::now();
}

void OpScope::end() {
  if constexpr (kCudaEnabled) cuda::end_range();
  if (!timed_) return;
  const auto elapsed = std::chrono::steady_clock::now() - start_;
  Times& times = times_so_far();
  if (device_.is_cpu()) {
    const std::lock_guard lock(times.mutex);
    times.add(op_, std::chrono::duration<double>(elapsed).count());
    return;
  }
  if constexpr (kCudaEnabled) {
    const cuda::Event end_event = cuda::record_event(device_.index);
    const std::lock_guard lock(times.mutex);
    times.pending.push_back({op_, start_event_, end_event});
  }
}

Profile::Profile() {
  EK_CHECK(!OpScope::profiling.exchange(true), "Profile: there is one already; end it first");
  Times& times = times_so_far();
  const std::lock_guard lock(times.mutex);
  times.of_op.clear();
  times.pending.clear();
}

Profile::~Profile() { OpScope::profiling = false; }

std::vector<OpTime> Profile::times() const {
  Times& so_far = times_so_far();
  const std::lock_guard lock(so_far.mutex);
  so_far.settle();
  std::vector<OpTime> all;
  for (const auto& [op, time] : so_far.of_op) all.push_back({op, time.count, time.seconds});
  std::sort(all.begin(), all.end(), [](const OpTime& a, const OpTime& b) { return a.seconds > b.seconds; });
  return all;
}

}  // namespace evenkeel
