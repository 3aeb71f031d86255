// Mutual exclusion that survives fork().
#pragma once

#include <mutex>

namespace evenkeel {

/// A mutex that no child of fork() finds locked. fork() copies only the thread that calls it, so a std::mutex
/// that another thread held would stay locked in the child for good. fork() first waits until every Mutex is
/// free, which also leaves what they protect in order.
///
/// A thread holds at most one Mutex at a time, and does not fork while it holds one: else fork() could wait
/// for ever.
class Mutex {
 public:
  Mutex();
  ~Mutex();
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

}  // namespace evenkeel
