// The race detector. Kernels of the race build are compiled with -fsanitize=thread and linked with these
// hooks instead of its runtime: every load and store of an unmodified kernel comes here. Two accesses to the
// same bytes, one of them a write, must be ordered:
//   same thread; or same block with a __syncthreads between; or same warp with a __syncwarp between, known
//   from clocks; or different launches. Different blocks of a launch are never ordered. Atomics do not race
//   with atomics. Shuffles and votes order nothing.
// An access to memory of the host is reported too.
#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "simt/block.h"
#include "simt/memory.h"

namespace simt {

#ifndef SIMT_RACE_DETECTOR

void note_atomic(const void*, std::size_t) {}
void race_check_block_begins() {}
std::string take_race_report() { return ""; }

#else

namespace {

constexpr std::size_t kGranule = 4;  // bytes that share a cell

/// Who read a cell since its block's last barrier.
enum class Readers : std::uint8_t { none, one, one_warp, many };

/// The history of four bytes.
struct Cell {
  std::uint32_t write_epoch = 0, read_epoch = 0;
  std::uint32_t write_clock = 0, read_clock = 0;
  std::uint32_t read_by_blocks_in = 0;  // first epoch of a launch in which an earlier block read it too
  std::uint16_t writer = 0, reader = 0;
  std::uint8_t written_bytes = 0;  // a bit each
  bool atomic = false;
  Readers readers = Readers::none;
};

std::vector<Cell> device_cells, shared_cells;
std::unordered_map<const Cell*, WarpClock> warp_reads;  // of cells whose readers are one_warp
std::string report;
bool next_is_atomic = false;

/// Whether an access of thread `who` at `epoch` came before what the running thread does now.
bool is_ordered(std::uint32_t epoch, unsigned who, std::uint32_t clock) {
  if (epoch < epochs.first_of_launch) return true;
  if (epoch < epochs.first_of_block) return false;  // another block of this launch
  if (epoch < epochs.now || who == running->id) return true;
  return who / kWarp == running->warp() && running->clock[who % kWarp] >= clock;
}

void report_race(const char* kind, const void* address, unsigned who, std::uint32_t epoch, const void* code) {
  if (!report.empty()) return;
  char place[64];
  std::snprintf(place, sizeof place, ", code %p", code);
  const auto* p = static_cast<const char*>(address);
  report = std::string("race: ") + kind + " " +
           (is_shared_address(p) ? "shared memory + " + std::to_string(p - shared_arena())
                                 : describe_device_address(p)) +
           " by thread " + std::to_string(running->id) + " and, unordered, thread " + std::to_string(who) +
           (epoch < epochs.first_of_block ? " of another block" : "") + place;
}

bool races_with_reads(const Cell& cell) {
  if (cell.read_by_blocks_in == epochs.first_of_launch) return true;
  if (cell.readers == Readers::none || cell.read_epoch < epochs.first_of_launch) return false;
  if (cell.read_epoch < epochs.first_of_block) return true;
  if (cell.read_epoch < epochs.now) return false;
  switch (cell.readers) {
    case Readers::one:
      return !is_ordered(cell.read_epoch, cell.reader, cell.read_clock);
    case Readers::one_warp: {
      if (cell.reader / kWarp != running->warp()) return true;
      const WarpClock& clocks = warp_reads[&cell];
      for (unsigned lane = 0; lane < kWarp; ++lane) {
        if (lane != running->lane() && clocks[lane] != 0 && running->clock[lane] < clocks[lane]) return true;
      }
      return false;
    }
    default:
      return true;
  }
}

void note_write(Cell& cell, std::uint8_t bytes, bool atomic) {
  cell.write_epoch = epochs.now;
  cell.write_clock = running->clock[running->lane()];
  cell.writer = static_cast<std::uint16_t>(running->id);
  cell.written_bytes = bytes;
  cell.atomic = atomic;
  cell.readers = Readers::none;
}

void note_read(Cell& cell) {
  const bool current_phase = cell.readers != Readers::none && cell.read_epoch == epochs.now;
  if (cell.readers != Readers::none && cell.read_epoch >= epochs.first_of_launch &&
      cell.read_epoch < epochs.first_of_block) {
    cell.read_by_blocks_in = epochs.first_of_launch;
  }
  if (!current_phase) {
    cell.readers = Readers::one;
  } else if (cell.readers == Readers::one && cell.reader != running->id) {
    if (cell.reader / kWarp == running->warp()) {
      cell.readers = Readers::one_warp;
      WarpClock& clocks = warp_reads[&cell] = {};
      clocks[cell.reader % kWarp] = cell.read_clock;
    } else {
      cell.readers = Readers::many;
    }
  } else if (cell.readers == Readers::one_warp && cell.reader / kWarp != running->warp()) {
    cell.readers = Readers::many;
  }
  cell.reader = static_cast<std::uint16_t>(running->id);
  cell.read_epoch = epochs.now;
  cell.read_clock = running->clock[running->lane()];
  if (cell.readers == Readers::one_warp) warp_reads[&cell][running->lane()] = cell.read_clock;
}

extern "C" char __executable_start, end;  // of the program's image, which holds its constants

/// Parameters, the thread's own stack and the program's constants belong to no race.
bool is_private(const void* address) {
  return running->fiber->owns(address) || (address >= arguments_begin && address < arguments_end) ||
         (address >= &__executable_start && address < &end);
}

void access(const void* address, std::size_t bytes, bool write, const void* code) {
  if (running == nullptr) return;
  const bool atomic = std::exchange(next_is_atomic, false);
  std::vector<Cell>* cells = nullptr;
  std::size_t first = 0;
  if (is_shared_address(address)) {
    cells = &shared_cells;
    first = static_cast<std::size_t>(static_cast<const char*>(address) - shared_arena());
  } else if (is_device_address(address)) {
    cells = &device_cells;
    first = device_offset(address);
    if (!in_device_block(address, bytes) && report.empty())
      report =
          "access past the end: " + std::to_string(bytes) + " bytes at " + describe_device_address(address);
  } else {
    if (!is_private(address) && report.empty()) report = "access to memory of the host";
    return;
  }
  const std::size_t last = first + bytes - 1;
  if (cells->size() <= last / kGranule) cells->resize(last / kGranule + (std::size_t{1} << 16));
  for (std::size_t granule = first / kGranule; granule <= last / kGranule; ++granule) {
    Cell& cell = (*cells)[granule];
    std::uint8_t touched = 0;
    for (std::size_t b = 0; b < kGranule; ++b) {
      const std::size_t at = granule * kGranule + b;
      if (at >= first && at <= last) touched |= static_cast<std::uint8_t>(1 << b);
    }
    if (cell.write_epoch != 0 && (cell.written_bytes & touched) != 0 && !(atomic && cell.atomic) &&
        !is_ordered(cell.write_epoch, cell.writer, cell.write_clock))
      report_race(write ? "two writes to" : "read after write of", address, cell.writer, cell.write_epoch,
                  code);
    if (write) {
      if (touched == 0xF && races_with_reads(cell))
        report_race("write after read of", address, cell.reader, cell.read_epoch, code);
      note_write(cell, touched, atomic);
    } else {
      note_read(cell);
    }
  }
}

}  // namespace

void note_atomic(const void* address, std::size_t bytes) {
  next_is_atomic = true;
  access(address, bytes, true, __builtin_return_address(0));
}
void race_check_block_begins() { warp_reads.clear(); }
std::string take_race_report() { return std::exchange(report, ""); }

#endif

}  // namespace simt

#ifdef SIMT_RACE_DETECTOR

#  define HOOK(name, bytes, write) \
    void name(void* address) { simt::access(address, bytes, write, __builtin_return_address(0)); }
#  define HOOKS(bytes)                               \
    HOOK(__tsan_read##bytes, bytes, false)           \
    HOOK(__tsan_write##bytes, bytes, true)           \
    HOOK(__tsan_unaligned_read##bytes, bytes, false) \
    HOOK(__tsan_unaligned_write##bytes, bytes, true)

extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(void* address, std::size_t bytes) {
  simt::access(address, bytes, false, __builtin_return_address(0));
}
void __tsan_write_range(void* address, std::size_t bytes) {
  simt::access(address, bytes, true, __builtin_return_address(0));
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}

#endif
