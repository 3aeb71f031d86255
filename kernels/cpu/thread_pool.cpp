// ThreadSanitizer sees neither oneTBB, which is not built with it, nor this file, where oneTBB's templates
// are compiled (cmake/CompileOptions.cmake): it would take the hand-over of tasks for races. The two facts
// that callers rely on are told to it here: a task begins after run() was called, and run() returns after all
// tasks have ended. Between two tasks nothing is promised, so that their races are found.
#include "evenkeel/kernels/cpu/thread_pool.h"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include <memory>
#include <mutex>

#include "evenkeel/base/mutex.h"

#ifdef EVENKEEL_THREAD_SANITIZER
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif

namespace evenkeel::cpu::thread_pool {
namespace {

/// A moment in the life of a loop, for ThreadSanitizer: what a thread did before reached() happens before
/// what another does after await().
class Moment {
 public:
#ifdef EVENKEEL_THREAD_SANITIZER
  void reached() { __tsan_release(this); }
  void await() { __tsan_acquire(this); }
#else
  void reached() {}
  void await() {}
#endif
};

/// These do so at the end of a scope, however it is left: exceptions travel from a task to the caller, too.
struct ReachedAtEnd {
  Moment& moment;
  ~ReachedAtEnd() { moment.reached(); }
};
struct AwaitAtEnd {
  Moment& moment;
  ~AwaitAtEnd() { moment.await(); }
};

/// The limit in force. Never destroyed: a child of fork() must not call oneTBB at its end, whose locks may
/// have been held when it was made.
struct Limit {
  Mutex mutex;
  std::unique_ptr<oneapi::tbb::global_control> control;
};

}  // namespace

void set_limit(int n) {
  static auto* limit = new Limit;
  using oneapi::tbb::global_control;
  const std::lock_guard lock(limit->mutex);
  limit->control =
      std::make_unique<global_control>(global_control::max_allowed_parallelism, static_cast<std::size_t>(n));
}

void run(std::int64_t n, std::int64_t grain, void (*call)(const void*, std::int64_t, std::int64_t),
         const void* f) {
  Moment begin, end;
  begin.reached();
  const AwaitAtEnd all_tasks_ended{end};
  const oneapi::tbb::blocked_range<std::int64_t> range(0, n, static_cast<std::size_t>(grain));
  oneapi::tbb::this_task_arena::isolate([&] {
    oneapi::tbb::parallel_for(range, [&](const auto& part) {
      begin.await();
      const ReachedAtEnd task_ended{end};
      call(f, part.begin(), part.end());
    });
  });
}

}  // namespace evenkeel::cpu::thread_pool
