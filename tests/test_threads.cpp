// Several threads and forked processes that use the library at once. The preset "tsan" runs this under
// ThreadSanitizer, which must find the races of the hidden tests [race] and none in the others.
//
// The first test must stay first: it is the first use of the library in this process.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <latch>
#include <mutex>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "catch.h"
#include "evenkeel/core/autograd.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/core/profile.h"
#include "evenkeel/core/random.h"
#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/nn/data.h"
#include "evenkeel/nn/functional.h"
#include "evenkeel/nn/layers.h"
#include "evenkeel/nn/optim.h"

using namespace evenkeel;

namespace {

using Values = std::vector<float>;

/// Runs f(0) .. f(count - 1), each on a thread of its own, all from the same moment on.
template <typename F>
void on_threads(int count, const F& f) {
  std::latch start(count);
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      f(i);
    });
  }
  for (std::thread& each : threads) each.join();
}

Tensor noise(const Shape& shape, std::uint64_t stream) {
  return uniform(shape, -1, 1, {11, RandomPurpose::tensor, stream});
}

data::Dataset images() {
  Tensor pixels = empty({96, 28, 28}, {DType::u8});
  Tensor labels = empty({96}, {DType::i64});
  for (std::int64_t i = 0; i < pixels.numel(); ++i) {
    pixels.mutable_data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 31 % 251);
  }
  for (std::int64_t i = 0; i < labels.numel(); ++i) labels.mutable_data<std::int64_t>()[i] = i % 10;
  return {pixels, labels, 0.5, 0.25};
}

/// Weights after an epoch, of a network that depends on the seed only: it has no dropout, whose keys two
/// trainings would draw from one generator.
Values train(const data::Dataset& dataset, std::uint64_t seed) {
  nn::Sequential net{nn::Conv2d(1, 8, 3),   nn::BatchNorm2d(8),  nn::ReLU(),
                     nn::Conv2d(8, 8, 3),   nn::GroupNorm(2, 8), nn::ReLU(),
                     nn::GlobalAvgPool2d(), nn::Linear(8, 10)};
  std::uint64_t stream = seed << 16;
  for (const auto& [name, weight] : net.named_parameters()) {
    const NoGrad no_grad;
    Tensor(weight).copy_(noise(weight.shape(), ++stream));
  }
  optim::SGD sgd(net.parameters(), {.lr = 0.01, .momentum = 0.9, .l1 = 1e-5});
  for (const auto [x, y] : dataset.batches({.size = 48, .seed = seed, .rotate = 7})) {
    sgd.zero_grad();
    cross_entropy(net(x), y).backward();
    sgd.step();
  }
  Values all;
  for (const auto& [name, tensor] : net.state_dict()) {
    if (tensor.dtype() != DType::f32) continue;
    const Values values = tensor.to_vector<float>();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

/// A product large enough for all threads.
Values product() { return matmul(noise({96, 128}, 1), noise({128, 80}, 2)).to_vector<float>(); }

/// Calls f in a child of fork(). True if it returns true there within a minute.
template <typename F>
bool in_child(const F& f) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // ends a child that hangs
    bool right = false;
    try {
      right = f();
    } catch (...) {
    }
    _exit(right ? 0 : 1);
  }
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

TEST_CASE("threads share the library from its first use") {
  constexpr int kThreads = 4;
  std::vector<Values> results(kThreads);
  std::atomic<bool> devices_agree = true;
  on_threads(kThreads, [&](int i) {
    const bool has_cuda = cuda_devices().count > 0;
    if (Device::best().is_cuda() != has_cuda || num_threads() < 1) devices_agree = false;
    results[static_cast<std::size_t>(i)] = product();
    nn::Linear(3, 3)(randn({2, 3}));
  });
  CHECK(devices_agree);
  for (const Values& each : results) CHECK((each == results.front()));
  CHECK((results.front() == product()));
}

TEST_CASE("two trainings at once have the bits of each alone") {
  const data::Dataset dataset = images();
  const Values alone[] = {train(dataset, 1), train(dataset, 2)};
  REQUIRE((alone[0] != alone[1]));
  Values together[2];
  on_threads(2, [&](int i) { together[i] = train(dataset, static_cast<std::uint64_t>(i) + 1); });
  CHECK((together[0] == alone[0]));
  CHECK((together[1] == alone[1]));
}

TEST_CASE("threads that draw from one generator get different numbers") {
  constexpr int kThreads = 4, kDraws = 500;
  const std::uint64_t before = default_generator().count();
  std::set<std::uint64_t> streams;
  std::mutex mutex;
  on_threads(kThreads, [&](int) {
    for (int draw = 0; draw < kDraws; ++draw) {
      const RandomKey key = default_generator().next(RandomPurpose::tensor);
      const std::lock_guard lock(mutex);
      streams.insert(key.stream);
    }
  });
  CHECK(streams.size() == kThreads * kDraws);
  CHECK(default_generator().count() == before + kThreads * kDraws);
}

TEST_CASE("NoGrad is of one thread, a Profile of all") {
  const NoGrad no_grad;
  const Profile profile;
  std::atomic<int> recording = 0;
  on_threads(3, [&](int) {
    if (grad_enabled()) ++recording;
    for (int i = 0; i < 10; ++i) relu(ones({8}));
  });
  CHECK(recording == 3);
  std::int64_t relus = 0;
  for (const OpTime& time : profile.times()) relus += time.op == "relu_forward" ? time.count : 0;
  CHECK(relus == 30);
  CHECK_THROWS_AS(Profile(), Error);
}

TEST_CASE("the number of threads changes while others compute") {
  const Values expected = product();
  const int before = num_threads();
  std::atomic<int> wrong = 0;
  on_threads(4, [&](int i) {
    for (int n = 0; n < 20; ++n) {
      if (i < 2) set_num_threads(1 + (n + i) % 4);
      if (product() != expected) ++wrong;
    }
  });
  CHECK(wrong == 0);
  set_num_threads(3);
  CHECK(num_threads() == 3);
  set_num_threads(before);
  CHECK_THROWS_AS(set_num_threads(0), Error);
}

TEST_CASE("an exception in a task reaches the caller, and the next loop works") {
  constexpr std::int64_t kCost = 1 << 20;
  for (int repeat = 0; repeat < 10; ++repeat) {
    for (const bool all : {false, true}) {
      std::string message;
      try {
        cpu::parallel_for(64, kCost, [&](std::int64_t i) {
          if (all || i == 37) fail("task {}", i);
        });
      } catch (const Error& e) {
        message = e.what();
      }
      CHECK(message.starts_with("task "));
      if (!all) CHECK(message == "task 37");
    }
    std::vector<std::int64_t> done(64);
    cpu::parallel_for(64, kCost, [&](std::int64_t i) { done[static_cast<std::size_t>(i)] = i; });
    CHECK(std::accumulate(done.begin(), done.end(), std::int64_t{0}) == 63 * 64 / 2);
  }
}

TEST_CASE("a thread that waits in a loop within a loop begins nothing of the outer one") {
  constexpr std::int64_t kCost = 1 << 20;
  static thread_local bool inside = false;
  std::atomic<int> entered_twice = 0, calls = 0;
  cpu::parallel_for(64, kCost, [&](std::int64_t) {
    if (inside) ++entered_twice;
    inside = true;
    cpu::parallel_for(16, kCost, [&](std::int64_t) { ++calls; });
    inside = false;
  });
  CHECK(entered_twice == 0);
  CHECK(calls == 64 * 16);
}

TEST_CASE("a child of fork computes the same bits") {
  const data::Dataset dataset = images();
  const Values expected = product(), weights = train(dataset, 1);
  CHECK(in_child([&] { return product() == expected && train(dataset, 1) == weights; }));
  CHECK(in_child([&] {
    set_num_threads(4);
    return num_threads() == 1 && product() == expected && in_child([&] { return product() == expected; });
  }));
#ifndef __SANITIZE_THREAD__  // which supports no new threads in a child of a process with several
  CHECK(in_child([&] {
    Values results[2];
    on_threads(2, [&](int i) { results[i] = product(); });
    return results[0] == expected && results[1] == expected;
  }));
#endif
  CHECK_FALSE(in_child([] { return false; }));
  CHECK(num_threads() >= 1);
  CHECK((product() == expected));  // the parent has its threads still
}

TEST_CASE("a child of fork computes whatever the other threads did at that moment") {
  const Values expected = product();
  std::atomic<bool> stop = false;
  std::atomic<int> wrong = 0;
  std::thread others[2];
  for (std::thread& each : others) {
    each = std::thread([&] {
      while (!stop) {
        if (product() != expected) ++wrong;
        randn({64});
      }
    });
  }
  int right = 0;
  constexpr int kChildren = 25;
  for (int i = 0; i < kChildren; ++i) {
    right += in_child([&] { return product() == expected && randn({3}).numel() == 3; }) ? 1 : 0;
  }
  stop = true;
  for (std::thread& each : others) each.join();
  CHECK(right == kChildren);
  CHECK(wrong == 0);
}

#ifndef __SANITIZE_ADDRESS__  // whose search for leaks takes the memory of threads that the child has not for
                              // lost
TEST_CASE("a child of fork ends by exit, with all destructors") {
  product();
  std::fflush(nullptr);  // else the child prints it again
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    product();
    std::exit(7);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 7);
}
#endif

// --- races, for ThreadSanitizer to find
// ------------------------------------------------------------------------

namespace {

/// Repeats a loop of 64 tasks until two threads have had a part in it.
template <typename F>
void on_two_threads(const F& f) {
  set_num_threads(4);
  for (int attempt = 0; attempt < 1000; ++attempt) {
    std::vector<std::thread::id> ids(64);
    cpu::parallel_for(64, 1 << 20, [&](std::int64_t i) {
      ids[static_cast<std::size_t>(i)] = std::this_thread::get_id();
      f(i);
      std::this_thread::yield();
    });
    if (std::set<std::thread::id>(ids.begin(), ids.end()).size() > 1) return;
  }
  FAIL("all tasks ran on one thread");
}

}  // namespace

TEST_CASE("a race of two tasks of one loop", "[.][race]") {
  std::int64_t sum = 0;
  on_two_threads([&](std::int64_t i) { sum += i; });
  CHECK(sum >= 0);
}

TEST_CASE("a race of a task and the thread that wrote without the loop's knowledge", "[.][race]") {
  std::vector<float> values(64);
  std::thread other([&] {
    for (int n = 0; n < 1000; ++n) {
      for (float& value : values) value += 1;
      std::this_thread::yield();
    }
  });
  on_two_threads([&](std::int64_t i) { values[static_cast<std::size_t>(i)] += 1; });
  other.join();
  CHECK(values[0] >= 0);
}

TEST_CASE("a race of two trainings that share a network", "[.][race]") {
  nn::Linear net(64, 64);
  optim::SGD sgd(net.parameters(), {.lr = 0.01});
  on_threads(2, [&](int) {
    for (int step = 0; step < 3; ++step) {
      sum(net(ones({8, 64}))).backward();
      sgd.step();
    }
  });
}
