// A grid group: its blocks are alive together and run one after another: the clusters from one
// sync_grid_group to the next, and the blocks of each from one sync_cluster to the next.
#include <algorithm>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "evenkeel/simt/block.h"
#include "evenkeel/simt/memory.h"

namespace simt {
namespace {

using Blocks = std::span<Block* const>;

std::vector<Block*> group;
std::map<const unsigned*, std::size_t> counters;  // which group, by its first block, uses it in this grid

std::string number_of(const Block& block) { return "block " + std::to_string(block.number); }

/// Every block waits or has exited. True if all of them wait at one barrier of this kind, false if none does.
bool all_wait(Blocks blocks, State barrier) {
  const auto waits = [=](const Block* block) { return block->state() == barrier; };
  const auto waiting = std::find_if(blocks.begin(), blocks.end(), waits);
  if (waiting == blocks.end()) return false;
  const Block& first = **waiting;
  const std::string where = std::string(name_of(barrier)) + " at " + str(first.site());
  for (const Block* block : blocks) {
    if (block->has_exited()) fail(where + " is never reached by " + number_of(*block) + ", which has exited");
    if (!waits(block))
      fail(where + " is never reached by " + number_of(*block) + ", which waits at " +
           name_of(block->state()) + " at " + str(block->site()));
    if (!is_same_place(block->site(), first.site()))
      fail(number_of(first) + " and " + number_of(*block) + " wait at different " + name_of(barrier) + ": " +
           str(first.site()) + " and " + str(block->site()));
  }
  for (Block* block : blocks) {
    block->met_others = true;
    block->used_others = false;
  }
  return true;
}

/// Fails if the counter could not work on a GPU, on which the grid groups run together.
void check_counter(const Block& first) {
  const std::string counter = "the counter of sync_grid_group at " + str(first.site());
  const unsigned* arrivals = first.arrivals;
  for (const Block* block : group) {
    if (block->arrivals != arrivals)
      fail(counter + " is not the same for " + number_of(first) + " and " + number_of(*block));
  }
  if (!in_device_block(arrivals, sizeof *arrivals)) fail(counter + " is not in device memory");
  if (const std::size_t owner = counters.try_emplace(arrivals, first.number).first->second;
      owner != first.number)
    fail(counter + " is that of two grid groups, of blocks " + std::to_string(owner) + " and " +
         std::to_string(first.number));
  if (*arrivals % group.size() != 0)
    fail(counter + " was " + std::to_string(*arrivals) + ", not a multiple of the grid group's " +
         std::to_string(group.size()) + " blocks");
}

bool pass_grid_group_barrier() {
  if (!all_wait(group, State::at_grid_group_barrier)) return false;
  const Block& first = *group[0];
  check_counter(first);
  *first.arrivals += static_cast<unsigned>(group.size());
  return true;
}

/// Runs the blocks of a cluster until all of them wait for the grid group or have exited.
void run_cluster(Blocks cluster, Order& order) {
  epochs.first_of_cluster = epochs.now + 1;
  do {
    epochs.first_of_stage = epochs.now + 1;
    std::vector<Block*> turns(cluster.begin(), cluster.end());
    order.arrange(turns);
    for (Block* block : turns) {
      run_block(*block, order);
      if (std::string race = take_race_report(); !race.empty()) fail(std::move(race));
    }
  } while (all_wait(cluster, State::at_cluster_barrier));
  for (const Block* block : cluster) {
    if (block->has_exited() && block->used_others)
      fail(number_of(*block) +
           " uses shared memory of a block that may have exited: no sync_cluster follows");
  }
}

/// Makes the i-th block of the grid group.
void make_block(Block& block, std::size_t i) {
  static std::vector<std::unique_ptr<Fiber>> pool;
  const Index shape = launched.block;
  const std::size_t count = std::size_t{shape.x} * shape.y * shape.z, first = i * count;
  while (pool.size() < first + count) pool.push_back(std::make_unique<Fiber>(run_thread));
  block.shared.arena = shared_arenas[i];
  block.threads.resize(count);
  for (std::size_t t = 0; t < count; ++t) {
    block.threads[t].fiber = pool[first + t].get();
    block.threads[t].id = static_cast<unsigned>(t);
    block.threads[t].index = unflatten(t, shape);
  }
}

}  // namespace

void make_grid_group() {
  static std::vector<std::unique_ptr<Block>> pool;
  group.clear();
  for (std::size_t i = 0; i < launched.grid_group; ++i) {
    if (i == pool.size()) pool.push_back(std::make_unique<Block>());
    make_block(*pool[i], i);
    group.push_back(pool[i].get());
  }
}

void begin_grid_groups() { counters.clear(); }

void run_grid_group(std::size_t first, Order& order) {
  epochs.first_of_grid_group = epochs.now + 1;
  for (std::size_t i = 0; i < group.size(); ++i) begin_block(*group[i], first + i);
  std::vector<Blocks> clusters;
  for (std::size_t i = 0; i < group.size(); i += launched.cluster)
    clusters.push_back(Blocks(group).subspan(i, launched.cluster));
  do {
    epochs.first_of_phase = epochs.now + 1;
    std::vector<Blocks> turns = clusters;
    order.arrange(turns);
    for (const Blocks cluster : turns) run_cluster(cluster, order);
  } while (pass_grid_group_barrier());
}

void discard_threads() {
  running = nullptr;
  for (Block* block : group) {
    for (Thread& t : block->threads) {
      if (t.state != State::exited) t.fiber->reset();
      t.state = State::exited;
    }
  }
}

}  // namespace simt
