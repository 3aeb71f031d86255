#include "simt/executor.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <string>

#include "simt/block.h"
#include "simt/memory.h"

namespace simt {
namespace {

int initial_orders() {
  const char* text = std::getenv("SIMT_ORDERS");
  return text == nullptr ? 3 : std::max(1, std::atoi(text));
}
int order_count = initial_orders();

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
  if (launch.team < 1 || product(grid) % launch.team != 0)
    fail("a grid of " + std::to_string(product(grid)) + " blocks in teams of " + std::to_string(launch.team));
  if (launch.cluster < 1 || launch.cluster > kMaxCluster || launch.team % launch.cluster != 0)
    fail("a team of " + std::to_string(launch.team) + " blocks in clusters of " +
         std::to_string(launch.cluster) + "; 8 are the most");
  if (launch.team > kMaxTeam || (launch.team > 1 && launch.team * product(block) > kMaxFibers))
    fail("a team of " + std::to_string(launch.team) + " blocks of " + std::to_string(product(block)) +
         " threads; the executor has 64 blocks and 16384 threads at once");
}

/// All blocks of one launch. `seed`: 1 ascending, 2 descending, else random threads, warps, blocks and teams.
void run_grid(unsigned seed) {
  epochs.first_of_launch = epochs.now + 1;
  Order order(seed);
  const std::size_t teams = product(launched.grid) / launched.team;
  std::vector<std::size_t> sequence;
  if (seed > 2) {
    sequence.resize(teams);
    std::iota(sequence.begin(), sequence.end(), 0);
    order.arrange(sequence);
  }
  begin_teams();
  for (std::size_t i = 0; i < teams; ++i)
    run_team(launched.team * (seed == 1 ? i : seed == 2 ? teams - 1 - i : sequence[i]), order);
}

/// Runs the grid in every order, each from the same memory, and compares what they leave.
void run_orders() {
  if (order_count == 1) {
    run_grid(3);
    return;
  }
  const DeviceSnapshot before;
  run_grid(1);
  const DeviceSnapshot after;
  for (int seed = 2; seed <= order_count; ++seed) {
    before.restore();
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

int orders() { return order_count; }
void set_orders(int count) { order_count = std::max(1, count); }

void run(const Launch& launch, void (*kernel)(const void*), const void* arguments,
         std::size_t argument_bytes) {
  launched = launch;
  launched_kernel = kernel;
  check_limits(launch);
  arguments_begin = arguments;
  arguments_end = static_cast<const char*>(arguments) + argument_bytes;
  current.block_dim = launch.block;
  current.grid_dim = launch.grid;
  make_team();
  const DeviceAccess access;
  try {
    run_orders();
  } catch (...) {
    discard_threads();
    take_race_report();
    throw;
  }
}

}  // namespace simt
