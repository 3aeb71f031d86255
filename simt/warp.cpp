// Warp collectives: they complete when exactly the lanes of their mask have arrived at one call.
#include <algorithm>
#include <bit>
#include <string>

#include "evenkeel/simt/block.h"

namespace simt {
namespace {

bool is_same_call(const Thread& a, const Thread& b) { return a.op == b.op && is_same_place(a.site, b.site); }

bool has_lane(unsigned mask, unsigned lane) { return (mask >> lane & 1) != 0; }

std::string thread_at(const Thread& t) { return "thread " + std::to_string(t.id) + " at " + str(t.site); }

/// Fails where a call can never complete, or means nothing.
void check_call(const Thread& t, unsigned lanes, unsigned exited) {
  if (!has_lane(t.mask, t.lane())) fail(thread_at(t) + " is not in the mask it names");
  if (t.width < 1 || t.width > 32 || (t.width & (t.width - 1)) != 0)
    fail(thread_at(t) + " shuffles with width " + std::to_string(t.width) +
         "; it must be 1, 2, 4, 8, 16 or 32");
  const unsigned missing = t.mask & (exited | ~(~0u >> (kWarp - lanes)));
  if (missing != 0) {
    const auto lane = static_cast<unsigned>(std::countr_zero(missing));
    fail(thread_at(t) + " names lane " + std::to_string(lane) +
         (lane >= lanes ? ", which does not exist" : ", which has exited"));
  }
}

/// True once all lanes that `t` waits for have arrived. Fails where they disagree.
bool all_arrived(const Thread& t, const Thread* warp, unsigned waiting) {
  if ((t.mask & ~waiting) != 0) return false;
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    // It may be with other lanes, and still come.
    if (has_lane(t.mask, lane) && !has_lane(warp[lane].mask, t.lane())) return false;
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (!has_lane(t.mask, lane)) continue;
    if (!is_same_call(t, warp[lane]))
      fail("lanes of one warp meet in different collectives: " + str(t.site) + " and " +
           str(warp[lane].site));
    if (warp[lane].mask != t.mask) fail("lanes of one warp name different masks at " + str(t.site));
  }
  return true;
}

/// The lane whose value `t` gets; lanes past the segment give the thread its own.
unsigned source_lane(const Thread& t) {
  const unsigned width = static_cast<unsigned>(t.width), first = t.lane() / width * width;
  const unsigned operand = static_cast<unsigned>(t.operand);
  switch (t.op) {
    case WarpOp::shuffle:
      return first + operand % width;
    case WarpOp::shuffle_xor: {
      // A lane of an earlier segment can be read, one of a later segment cannot.
      const unsigned source = t.lane() ^ operand % kWarp;
      return source < first + width ? source : t.lane();
    }
    case WarpOp::shuffle_down: {
      const unsigned source = t.lane() + operand % kWarp;
      return source < first + width ? source : t.lane();
    }
    default:
      return t.lane();
  }
}

void exchange_values(unsigned mask, Thread* warp) {
  std::uint64_t votes = 0;
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (has_lane(mask, lane) && warp[lane].op == WarpOp::ballot) votes |= warp[lane].value << lane;
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (!has_lane(mask, lane)) continue;
    Thread& t = warp[lane];
    const unsigned source = source_lane(t);
    if (!has_lane(mask, source))
      fail(thread_at(t) + " reads lane " + std::to_string(source) + ", which is not in the mask");
    t.result = t.op == WarpOp::ballot ? votes : warp[source].value;
  }
}

/// __syncwarp alone orders memory accesses; shuffles and votes do not.
void merge_clocks(unsigned mask, Thread* warp) {
  WarpClock merged{};
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (!has_lane(mask, lane)) continue;
    for (unsigned i = 0; i < kWarp; ++i) merged[i] = std::max(merged[i], warp[lane].clock[i]);
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (!has_lane(mask, lane)) continue;
    warp[lane].clock = merged;
    ++warp[lane].clock[lane];
  }
}

}  // namespace

unsigned complete_collectives(Thread* warp, unsigned lanes) {
  unsigned waiting = 0, exited = 0, done = 0;
  for (unsigned lane = 0; lane < lanes; ++lane) {
    if (warp[lane].state == State::in_collective) waiting |= 1u << lane;
    if (warp[lane].state == State::exited) exited |= 1u << lane;
  }
  for (unsigned lane = 0; lane < lanes; ++lane) {
    if (!has_lane(waiting & ~done, lane)) continue;
    const Thread& t = warp[lane];
    check_call(t, lanes, exited);
    if (!all_arrived(t, warp, waiting)) continue;
    if (t.op != WarpOp::sync) {
      exchange_values(t.mask, warp);
    } else if (kRaceDetector) {
      merge_clocks(t.mask, warp);
    }
    done |= t.mask;
  }
  return done;
}

}  // namespace simt
