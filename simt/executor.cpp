#include "evenkeel/simt/executor.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <unordered_map>
#include <vector>

#include "evenkeel/simt/block.h"
#include "evenkeel/simt/memory.h"

namespace simt {
namespace {

int number_from(const char* variable, int otherwise, int least) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::max(least, std::atoi(text));
}
int order_count = number_from("SIMT_ORDERS", 3, 1);

bool races_in_all_orders = false;

/// How often a launch that differs from earlier ones in nothing but the data is run in all orders; 0: always.
const int repeats = number_from("SIMT_REPEATS", 1, 0);

/// True if launches of this form have been run in all orders often enough.
bool is_well_known(std::uint64_t form) {
  static std::unordered_map<std::uint64_t, int> launches;
  return repeats > 0 && launches[form]++ >= repeats;
}

std::size_t product(Index i) { return std::size_t{i.x} * i.y * i.z; }
std::string str(Index i) {
  return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

void check_limits(const Launch& launch) {
  const Index block = launch.block, grid = launch.grid;
  if (block.x > kMaxThreads || block.y > kMaxThreads || block.z > 64 || product(block) < 1 ||
      product(block) > kMaxThreads)
    fail("a block of " + str(block) + " threads; 1 to 1024 are possible, 64 of them in z");
  if (product(grid) < 1 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    fail("a grid of " + str(grid) + " blocks; (2^31-1, 65535, 65535) are the most");
  if (launch.dynamic_shared > kShared)
    fail(std::to_string(launch.dynamic_shared) + " bytes of shared memory; 232448 are the most");
  if (launch.grid_group < 1 || product(grid) % launch.grid_group != 0)
    fail("a grid of " + std::to_string(product(grid)) + " blocks in grid groups of " +
         std::to_string(launch.grid_group));
  if (launch.cluster < 1 || launch.cluster > kMaxCluster || launch.grid_group % launch.cluster != 0)
    fail("a grid group of " + std::to_string(launch.grid_group) + " blocks in clusters of " +
         std::to_string(launch.cluster) + "; 8 are the most");
  if (launch.grid_group > kMaxGridGroup ||
      (launch.grid_group > 1 && launch.grid_group * product(block) > kMaxFibers))
    fail("a grid group of " + std::to_string(launch.grid_group) + " blocks of " +
         std::to_string(product(block)) + " threads; the executor has 64 blocks and 16384 threads at once");
}

/// All blocks of one launch. `seed`: 1 ascending, 2 descending, else random threads, warps, blocks and
/// groups.
void run_grid(unsigned seed) {
  epochs.first_of_launch = epochs.now + 1;
  Order order(seed);
  const std::size_t groups = product(launched.grid) / launched.grid_group;
  std::vector<std::size_t> sequence;
  if (seed > 2) {
    sequence.resize(groups);
    std::iota(sequence.begin(), sequence.end(), 0);
    order.arrange(sequence);
  }
  begin_grid_groups();
  for (std::size_t i = 0; i < groups; ++i)
    run_grid_group(launched.grid_group * (seed <= 1 ? i : seed == 2 ? groups - 1 - i : sequence[i]), order);
}

/// Runs the grid in every order, each from the same memory, and compares what they leave. Races are looked
/// for in the last one, as they are found in any.
void run_orders(std::uint64_t form) {
  if (is_well_known(form)) {
    detect_races(false);
    run_grid(0);
    return;
  }
  detect_races(order_count == 1 || races_in_all_orders);
  if (order_count == 1) {
    run_grid(3);
    return;
  }
  const DeviceSnapshot before;
  run_grid(1);
  const DeviceSnapshot after;
  for (int seed = 2; seed <= order_count; ++seed) {
    before.restore();
    detect_races(seed == order_count || races_in_all_orders);
    run_grid(static_cast<unsigned>(seed));
    if (const std::string where = after.difference(); !where.empty())
      fail("the result depends on the order of threads and blocks, first at " + where);
  }
}

}  // namespace

Index unflatten(std::size_t i, Index shape) {
  return {static_cast<unsigned>(i % shape.x), static_cast<unsigned>(i / shape.x % shape.y),
          static_cast<unsigned>(i / shape.x / shape.y)};
}

// FNV-1a, by words.
std::uint64_t form_of(const Launch& launch, const void* arguments, std::size_t bytes) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&](std::uint64_t word) { hash = (hash ^ word) * 0x100000001b3u; };
  for (const Index i : {launch.grid, launch.block}) add(i.x), add(i.y), add(i.z);
  add(launch.dynamic_shared), add(launch.grid_group), add(launch.cluster);
  std::vector<std::uint64_t> pointers;
  for (std::size_t at = 0; at < bytes; at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, static_cast<const char*>(arguments) + at, std::min(sizeof word, bytes - at));
    if (is_device_address(reinterpret_cast<const void*>(word))) {
      const auto same = std::find(pointers.begin(), pointers.end(), word) - pointers.begin();
      pointers.push_back(word);
      word = 16 * static_cast<std::uint64_t>(same) + word % 16;
    }
    add(word);
  }
  return hash;
}

int orders() { return order_count; }
void set_orders(int count) { order_count = std::max(1, count); }
void look_for_races_in_all_orders(bool on) { races_in_all_orders = on; }

void run(const Launch& launch, std::uint64_t form, void (*kernel)(const void*), const void* arguments,
         std::size_t argument_bytes) {
  launched = launch;
  launched_kernel = kernel;
  check_limits(launch);
  arguments_begin = arguments;
  arguments_end = static_cast<const char*>(arguments) + argument_bytes;
  current.block_dim = launch.block;
  current.grid_dim = launch.grid;
  make_grid_group();
  const DeviceAccess access;
  try {
    run_orders(form);
  } catch (...) {
    discard_threads();
    take_race_report();
    throw;
  }
}

}  // namespace simt
