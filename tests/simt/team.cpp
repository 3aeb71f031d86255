// A team: its blocks are alive together and run one after another from one sync_team to the next.
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "simt/block.h"
#include "simt/memory.h"

namespace simt {
namespace {

std::vector<Block*> team;
std::vector<Block*> turns;                        // the same blocks, in the order of this phase
std::map<const unsigned*, std::size_t> counters;  // which team, by its first block, uses it in this grid

Site site_of(const Block& block) { return block.threads[0].site; }
std::string number_of(const Block& block) { return "block " + std::to_string(block.number); }

/// Where the counter cannot work on a GPU, on which teams run together.
void check_counter(const Block& first) {
  const std::string counter = "the counter of sync_team at " + str(site_of(first));
  const unsigned* arrivals = first.arrivals;
  for (const Block* block : team) {
    if (block->arrivals != arrivals)
      fail(counter + " is not the same for " + number_of(first) + " and " + number_of(*block));
  }
  if (!in_device_block(arrivals, sizeof *arrivals)) fail(counter + " is not in device memory");
  if (const std::size_t owner = counters.try_emplace(arrivals, first.number).first->second;
      owner != first.number)
    fail(counter + " is that of two teams, of blocks " + std::to_string(owner) + " and " +
         std::to_string(first.number));
  if (*arrivals % team.size() != 0)
    fail(counter + " was " + std::to_string(*arrivals) + ", not a multiple of the team's " +
         std::to_string(team.size()) + " blocks");
}

/// Every block waits or has exited. True if all wait, at one sync_team, and may go on.
bool pass_team_barrier() {
  const auto exited = [](const Block* block) { return block->has_exited(); };
  const auto waiting = std::find_if_not(team.begin(), team.end(), exited);
  if (waiting == team.end()) return false;
  if (const auto gone = std::find_if(team.begin(), team.end(), exited); gone != team.end())
    fail("sync_team at " + str(site_of(**waiting)) + " is never reached by " + number_of(**gone) +
         ", which has exited");
  const Block& first = *team[0];
  for (const Block* block : team) {
    if (!is_same_place(site_of(*block), site_of(first)))
      fail(number_of(first) + " and " + number_of(*block) +
           " wait at different sync_team: " + str(site_of(first)) + " and " + str(site_of(*block)));
  }
  check_counter(first);
  *first.arrivals += static_cast<unsigned>(team.size());
  return true;
}

/// Makes the i-th block of the team.
void make_block(Block& block, std::size_t i) {
  static std::vector<std::unique_ptr<Fiber>> pool;
  const Index shape = launched.block;
  const std::size_t count = std::size_t{shape.x} * shape.y * shape.z, first = i * count;
  while (pool.size() < first + count) pool.push_back(std::make_unique<Fiber>(run_thread));
  block.shared.arena = shared_arena(i);
  block.threads.resize(count);
  for (std::size_t t = 0; t < count; ++t) {
    block.threads[t].fiber = pool[first + t].get();
    block.threads[t].id = static_cast<unsigned>(t);
    block.threads[t].index = unflatten(t, shape);
  }
}

}  // namespace

void make_team() {
  static std::vector<std::unique_ptr<Block>> pool;
  team.clear();
  for (std::size_t i = 0; i < launched.team; ++i) {
    if (i == pool.size()) pool.push_back(std::make_unique<Block>());
    make_block(*pool[i], i);
    team.push_back(pool[i].get());
  }
}

void begin_teams() { counters.clear(); }

void run_team(std::size_t first, Order& order) {
  epochs.first_of_team = epochs.now + 1;
  for (std::size_t i = 0; i < team.size(); ++i) begin_block(*team[i], first + i);
  do {
    epochs.first_of_phase = epochs.now + 1;
    turns = team;
    order.arrange(turns);
    for (Block* block : turns) {
      run_block(*block, order);
      if (std::string race = take_race_report(); !race.empty()) fail(std::move(race));
    }
  } while (pass_team_barrier());
}

void discard_threads() {
  running = nullptr;
  for (Block* block : team) {
    for (Thread& t : block->threads) {
      if (t.state != State::exited) t.fiber->reset();
      t.state = State::exited;
    }
  }
}

}  // namespace simt
