#include "evenkeel/base/mutex.h"

#include <pthread.h>

#include <algorithm>
#include <vector>

namespace evenkeel {
namespace {

struct Registry {
  std::mutex mutex;  // of `all`; locked before any of them
  std::vector<Mutex*> all;
};

void lock_all();
void unlock_all();

/// Never destroyed, as tensors may outlive other statics.
Registry& registry() {
  static auto* instance = [] {
    pthread_atfork(lock_all, unlock_all, unlock_all);
    return new Registry;
  }();
  return *instance;
}

void lock_all() {
  registry().mutex.lock();
  for (Mutex* each : registry().all) each->lock();
}

void unlock_all() {
  for (Mutex* each : registry().all) each->unlock();
  registry().mutex.unlock();
}

}  // namespace

Mutex::Mutex() {
  const std::lock_guard lock(registry().mutex);
  registry().all.push_back(this);
}

Mutex::~Mutex() {
  const std::lock_guard lock(registry().mutex);
  std::erase(registry().all, this);
}

}  // namespace evenkeel
