// The race detector. Kernels are compiled with -fsanitize=thread and linked with tsan_hooks.cpp instead of
// its runtime: every load and store of an unmodified kernel comes here. Two accesses to the same bytes, one
// of them a write, must be ordered:
//   same thread; or same block with a __syncthreads between; or same warp with a __syncwarp between, known
//   from clocks; or same cluster with a sync_cluster between; or same grid group with a sync_grid_group
//   between; or different launches. Other blocks of a launch are never ordered. Atomics do not race with
//   atomics. Shuffles and votes order nothing.
// An access to memory of the host is reported too, one past the end of a block of device memory, and one of
// another block's shared memory where that may not be there.
#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "evenkeel/simt/block.h"
#include "evenkeel/simt/memory.h"

namespace simt {

#ifndef SIMT_RACE_DETECTOR

void note_atomic(const void*, std::size_t) {}
void detect_races(bool) {}
std::string take_race_report() { return ""; }

#else

namespace {

constexpr std::size_t kGranule = 4;  // bytes that share a cell, until one of them is accessed alone

/// Who read a cell since its block's last barrier: lanes of one warp, or more.
enum class Readers : std::uint8_t { none, one_warp, many };

/// Accesses of the launch that newer ones by other blocks have replaced: the first epoch, the last one, and
/// the last one before those of the cluster that made the last one.
struct Replaced {
  std::uint32_t first = 0, last = 0, last_of_others = 0;
};

/// The history of four bytes, or of one: the last write, and the reads since. Two cells are a cache line.
struct alignas(32) Cell {
  std::uint32_t write_epoch = 0, read_epoch = 0;
  std::uint32_t write_clock = 0, read_clock = 0;
  std::uint32_t lanes = 0;  // of one_warp, a bit each
  std::uint16_t writer = 0, reader = 0;
  Readers readers = Readers::none;
  bool atomic = false;      // the last write
  bool many_warps = false;  // wrote it atomically since the last barrier
  bool split = false;       // its bytes have cells of their own
};

/// What newer accesses have replaced in a cell, which few accesses ask for.
struct Past {
  Replaced reads, writes;
};
struct CellAndPast {
  Cell cell;
  Past past;
};

/// The cells of the device's memory, or of the shared memory of all blocks.
struct Shadow {
  std::vector<Cell> granules;
  std::vector<Past> pasts;  // of the granules
  std::unordered_map<std::size_t, std::array<CellAndPast, kGranule> > bytes;
};

/// One access, or the part of it in one cell.
struct Access {
  const char* address;
  std::size_t bytes;
  bool write, atomic;
  const void* code;
  std::uint32_t since;  // accesses of earlier epochs came before
};

Shadow device_shadow, shared_shadow;
std::string report;
bool busy = false;  // the detector's own library calls may be instrumented copies of a kernel file's

/// Whether an access in this launch, to the device's memory, came from another grid group, from another
/// cluster since the last sync_grid_group, or from another block since the last sync_cluster.
bool is_of_unordered_block(std::uint32_t epoch) {
  return epoch < epochs.first_of_grid_group ||
         (epoch >= epochs.first_of_phase && epoch < epochs.first_of_cluster) ||
         (epoch >= epochs.first_of_stage && epoch < epochs.first_of_block);
}

/// If one of them is unordered, so is the first, if it is of another grid group; or the last of another
/// cluster, or the last one, if it is of this grid group.
bool is_ordered(const Access& now, const Replaced& replaced) {
  if (replaced.last < now.since) return true;
  const std::uint32_t of_others =
      replaced.last < epochs.first_of_cluster ? replaced.last : replaced.last_of_others;
  return !is_of_unordered_block(replaced.first) && !is_of_unordered_block(replaced.last) &&
         (of_others < now.since || !is_of_unordered_block(of_others));
}

/// Before an access of another block, at `epoch` of this launch, is replaced.
void note_replaced(const Access& now, Replaced& replaced, std::uint32_t epoch) {
  if (replaced.first < now.since) replaced.first = epoch;
  if (replaced.last < epochs.first_of_cluster) replaced.last_of_others = replaced.last;
  replaced.last = epoch;
}

/// Whether an access of thread `who` at `epoch` came before what the running thread does now.
bool is_ordered(const Access& now, std::uint32_t epoch, unsigned who, std::uint32_t clock) {
  if (epoch < now.since) return true;
  if (is_of_unordered_block(epoch)) return false;
  if (epoch < epochs.now || who == running->id) return true;
  return who / kWarp == running->warp() && running->clock[who % kWarp] >= clock;
}

std::string describe(const char* p) {
  if (!is_shared_address(p)) return describe_device_address(p);
  if (is_shared_of(running_block->shared, p))
    return "shared memory + " + std::to_string(p - running_block->shared.arena);
  return "another block's shared memory";
}

extern "C" char __executable_start, data_start;  // the program's code and constants lie between

void report_first(const Access& access, std::string what) {
  if (!report.empty()) return;
  char place[64];
  std::snprintf(place, sizeof place, "; for addr2line: %#tx",
                static_cast<const char*>(access.code) - &__executable_start);
  report = std::move(what) + place;
}

void report_race(const Access& access, const char* kind, unsigned who, std::uint32_t epoch) {
  report_first(access,
               std::string("race: ") + kind + " " + describe(access.address) + " by thread " +
                   std::to_string(running->id) + " and, unordered, thread " + std::to_string(who) +
                   (epoch >= epochs.first_of_block                                  ? ""
                    : epoch < epochs.first_of_grid_group && launched.grid_group > 1 ? " of another grid group"
                                                                                    : " of another block"));
}

/// Whether the running thread, of the same warp, has synchronised with all lanes that read the cell.
bool is_ordered_after_lanes(const Cell& cell) {
  for (unsigned lanes = cell.lanes & ~(1u << running->lane()); lanes != 0; lanes &= lanes - 1) {
    if (running->clock[static_cast<unsigned>(std::countr_zero(lanes))] < cell.read_clock) return false;
  }
  return true;
}

bool is_ordered_after_reads(const Access& access, const Cell& cell, const Past& past) {
  if (!is_ordered(access, past.reads)) return false;
  if (cell.readers == Readers::none || cell.read_epoch < access.since) return true;
  if (is_of_unordered_block(cell.read_epoch)) return false;
  if (cell.read_epoch < epochs.now) return true;
  return cell.readers == Readers::one_warp && cell.reader / kWarp == running->warp() &&
         is_ordered_after_lanes(cell);
}

/// Whether it is ordered after all writes, which atomics need not be after atomics.
bool is_ordered_after_writes(const Access& access, const Cell& cell, const Past& past) {
  if (cell.write_epoch < access.since || (access.atomic && cell.atomic)) return true;
  if (!is_ordered(access, past.writes)) return false;
  if (cell.many_warps && cell.write_epoch == epochs.now) return false;
  return is_ordered(access, cell.write_epoch, cell.writer, cell.write_clock);
}

void note_write(const Access& access, Cell& cell, Past& past) {
  const bool same_launch = cell.write_epoch >= access.since, same_phase = cell.write_epoch == epochs.now;
  if (same_launch && cell.write_epoch < epochs.first_of_block)
    note_replaced(access, past.writes, cell.write_epoch);
  cell.many_warps = same_phase && access.atomic && cell.atomic &&
                    (cell.many_warps || cell.writer / kWarp != running->warp());
  cell.write_epoch = epochs.now;
  cell.write_clock = running->clock[running->lane()];
  cell.writer = static_cast<std::uint16_t>(running->id);
  cell.atomic = access.atomic;
  cell.readers = Readers::none;
}

/// Adds the running thread to the lanes that read the cell, of which one clock is kept. Lanes that it comes
/// after are replaced: who comes after it comes after them. Else the earlier clock stays: where lanes of a
/// warp synchronise by parts a race may be missed, but none is invented.
void note_lane(Cell& cell) {
  const unsigned lane = 1u << running->lane();
  const std::uint32_t clock = running->clock[running->lane()];
  if (clock != cell.read_clock && is_ordered_after_lanes(cell)) {
    cell.lanes = lane;
    cell.read_clock = clock;
  } else {
    cell.lanes |= lane;
    cell.read_clock = std::min(cell.read_clock, clock);
  }
}

void note_read(const Access& access, Cell& cell, Past& past) {
  if (cell.readers == Readers::none || cell.read_epoch != epochs.now) {
    if (cell.readers != Readers::none && cell.read_epoch >= access.since &&
        cell.read_epoch < epochs.first_of_block)
      note_replaced(access, past.reads, cell.read_epoch);
    cell.readers = Readers::one_warp;
    cell.read_epoch = epochs.now;
    cell.read_clock = running->clock[running->lane()];
    cell.lanes = 1u << running->lane();
  } else if (cell.readers == Readers::one_warp && cell.reader / kWarp != running->warp()) {
    cell.readers = Readers::many;
  } else if (cell.readers == Readers::one_warp) {
    note_lane(cell);
  }
  cell.reader = static_cast<std::uint16_t>(running->id);
}

/// `access.address` is the cell's.
void visit(const Access& access, Cell& cell, Past& past) {
  if (!is_ordered_after_writes(access, cell, past))
    report_race(access, access.write ? "two writes to" : "read after write of", cell.writer,
                cell.write_epoch);
  if (!access.write) {
    note_read(access, cell, past);
    return;
  }
  if (!is_ordered_after_reads(access, cell, past))
    report_race(access, "write after read of", cell.reader, cell.read_epoch);
  note_write(access, cell, past);
}

bool is_old(const Access& access, const Cell& cell) {
  return cell.write_epoch < access.since && cell.read_epoch < access.since;
}

/// Visits the cells of bytes [from, to) of one granule; `access.address` is that of `from`.
void visit_granule(Access access, Shadow& shadow, std::size_t granule, std::size_t from, std::size_t to) {
  Cell& cell = shadow.granules[granule];
  Past& past = shadow.pasts[granule];
  const bool whole = to - from == kGranule;
  if (whole && cell.split) {
    const auto& bytes = shadow.bytes[granule];
    if (std::all_of(bytes.begin(), bytes.end(),
                    [&](const CellAndPast& c) { return is_old(access, c.cell); })) {
      shadow.bytes.erase(granule);
      cell = {};
      past = {};
    }
  }
  if (!whole && !cell.split) {
    cell.split = true;
    shadow.bytes[granule].fill({cell, past});
  }
  if (!cell.split) {
    visit(access, cell, past);
    return;
  }
  auto& bytes = shadow.bytes[granule];
  for (; from < to; ++from, ++access.address) {
    CellAndPast& of_byte = bytes[from % kGranule];
    visit(access, of_byte.cell, of_byte.past);
  }
}

/// `first`: the number of the access's first byte within the shadow.
void visit_granules(const Access& access, Shadow& shadow, std::size_t first) {
  const std::size_t end = first + access.bytes;
  if (shadow.granules.size() * kGranule < end) {
    shadow.granules.resize(end / kGranule + (std::size_t{1} << 16));
    shadow.pasts.resize(shadow.granules.size());
  }
  if (Cell& cell = shadow.granules[first / kGranule];
      access.bytes == kGranule && first % kGranule == 0 && !cell.split) {
    visit(access, cell, shadow.pasts[first / kGranule]);
    return;
  }
  Access part = access;
  for (std::size_t from = first, to; from < end; from = to) {
    to = std::min(end, from / kGranule * kGranule + kGranule);
    visit_granule(part, shadow, from / kGranule, from, to);
    part.address += to - from;
  }
}

/// The thread's parameters, the program's constants and the built-in variables.
bool is_private(const Access& access) {
  const char* p = access.address;
  const auto* built_in = reinterpret_cast<const char*>(&current);
  return (p >= arguments_begin && p < arguments_end) ||
         (!access.write && ((p >= &__executable_start && p < &data_start) ||
                            (p >= built_in && p < built_in + sizeof current)));
}

}  // namespace

bool detecting = true;

void race_check(const void* address, std::size_t bytes, bool write, const void* code, bool atomic) {
  if (!is_watched(address) || busy || bytes == 0) return;
  busy = true;
  Access access{static_cast<const char*>(address), bytes, write, atomic, code, epochs.first_of_launch};
  if (is_shared_address(address)) {
    if (!is_shared_of(running_block->shared, address)) {
      if (!is_shared_of_cluster(address)) report_first(access, "access of another block's shared memory");
      if (!running_block->met_others)
        report_first(access,
                     "access of another block's shared memory before any sync_cluster: that block may "
                     "not have started");
      running_block->used_others = true;
    }
    access.since = launched.cluster > 1 ? epochs.first_of_grid_group : epochs.first_of_block;
    visit_granules(access, shared_shadow, shared_offset(address));
  } else if (is_device_address(address)) {
    if (!in_device_block(address, bytes))
      report_first(access, "access of " + std::to_string(bytes) + " bytes past the end of a block, at " +
                               describe_device_address(address));
    visit_granules(access, device_shadow, device_offset(address));
  } else if (!is_private(access)) {
    report_first(access, std::string(write ? "write" : "read") + " of the host's memory");
  }
  busy = false;
}

void note_atomic(const void* address, std::size_t bytes) {
  race_check(address, bytes, true, __builtin_return_address(0), true);
}
void detect_races(bool on) { detecting = on; }
std::string take_race_report() { return std::exchange(report, ""); }

#endif

}  // namespace simt
