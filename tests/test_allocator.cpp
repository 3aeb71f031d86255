// Memory: what is kept for reuse, and fresh memory that is poisoned.
#include <cmath>
#include <cstdlib>

#include "compare.h"
#include "evenkeel/core/caching_allocator.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/core/storage.h"
#include "evenkeel/nn/functional.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

/// Ends the poisoning when it goes.
struct Poison {
  explicit Poison(int byte) { set_memory_poison(byte); }
  ~Poison() { set_memory_poison(-1); }
};

}  // namespace

TEST_CASE("poisoned memory has the byte asked for, fresh or from the cache") {
  for (Device device : devices()) {
    INFO(device.str());
    { const Tensor stale = full({1000}, 777, {DType::f32, device}); }
    {
      const Poison poison(255);
      for (std::int64_t size : {1000, 3333}) {
        for (float value : empty({size}, {DType::f32, device}).to_vector<float>()) CHECK(std::isnan(value));
      }
      CHECK(std::isnan(empty({}, {DType::f64, device}).item()));
      CHECK(std::isnan(empty({}, {DType::f16, device}).item()));
      CHECK(empty({}, {DType::i64, device}).item() == -1);
      CHECK(empty({0}, {DType::u8, device}).numel() == 0);
    }
    const Poison poison(0x41);
    CHECK(empty({3}, {DType::u8, device}).to_vector<double>() == std::vector<double>(3, 65));
  }
  CHECK(mentions(error_of([] { set_memory_poison(256); }), {"256"}));
}

TEST_CASE("the cache is bounded by the most that was in use, whatever the sizes") {
  for (Device device : devices()) {
    INFO(device.str());
    empty_cache(device);
    reset_peak_memory_stats(device);
    const std::int64_t elements =
        device.is_cpu() ? 4096 : 64;  // the executor copies all memory at each launch
    for (std::int64_t k = 1; k <= 256; ++k) relu(zeros({k * elements}, {DType::f32, device}));
    const MemoryStats stats = memory_stats(device);
    CHECK(stats.bytes_cached <= 3 * stats.bytes_peak);
    CHECK(stats.bytes_peak - stats.bytes_in_use < 4 * 256 * elements * 4);
    empty_cache(device);
    CHECK(memory_stats(device).bytes_cached == 0);
    CHECK(memory_stats(device).bytes_in_use == stats.bytes_in_use);
  }
  CHECK_THROWS_AS(memory_stats(Device::cuda(cuda_devices().count)), DeviceError);
  CHECK_THROWS_AS(empty_cache(Device::cuda(cuda_devices().count)), DeviceError);
}

TEST_CASE("the peak can be reset, and empty_cache can be called at any time") {
  for (Device device : devices()) {
    INFO(device.str());
    const std::int64_t before = memory_stats(device).bytes_in_use;
    const Tensor kept = ones({1000}, {DType::f32, device});
    { const Tensor large = zeros({100'000}, {DType::f32, device}); }
    CHECK(memory_stats(device).bytes_peak >= before + 404'000);
    reset_peak_memory_stats(device);
    CHECK(memory_stats(device).bytes_peak == memory_stats(device).bytes_in_use);
    empty_cache(device);
    empty_cache(device);
    CHECK(sum(kept).item() == 1000);
  }
}

namespace {

/// Memory that counts what it gave and got back.
struct CountingMemory {
  static constexpr std::size_t kAlignment = 64;
  static constexpr std::int64_t kMostCached = std::int64_t{1} << 40;
  static constexpr const char* kName = "a test";
  std::int64_t* held;

  void* allocate(std::size_t bytes) const {
    ++*held;
    return std::malloc(bytes);
  }
  void deallocate(void* data) const {
    --*held;
    std::free(data);
  }
};

}  // namespace

#ifndef EVENKEEL_SANITIZED
TEST_CASE("the blocks that were free for longest go first, and an old peak is forgotten") {
  std::int64_t held = 0;
  CachingAllocator<CountingMemory> memory(CountingMemory{&held});
  const auto use = [&](std::int64_t bytes) { memory.deallocate(memory.allocate(bytes), bytes); };
  use(6400);  // the peak: 19,200 bytes may be cached
  for (std::int64_t bytes : {6336, 3200, 3136}) use(bytes);
  CHECK(memory.stats().bytes_cached == 19072);
  use(6400);  // taken and put back: now the youngest
  use(640);   // 19,712 bytes: 6336 goes
  CHECK(memory.stats().bytes_cached == 13376);
  CHECK(held == 4);
  CHECK(memory.stats().system_allocations == 5);
  for (std::int64_t bytes : {6400, 3200, 3136, 640}) use(bytes);
  CHECK(memory.stats().system_allocations == 5);
  for (int i = 0; i < 2 * 65536 + 1; ++i) use(64);
  CHECK(memory.stats().bytes_cached == 64);
  memory.empty_cache();
  CHECK(held == 0);
}
#endif
