// Warp collectives: they complete when exactly the lanes of their mask have arrived at one call.
#include <algorithm>
#include <cstring>
#include <string>

#include "simt/block.h"

namespace simt {
namespace {

bool is_same_call(const Thread& a, const Thread& b) {
  return a.op == b.op && a.site.line == b.site.line && std::strcmp(a.site.file, b.site.file) == 0;
}

/// True once all lanes that `t` waits for have arrived. Fails where they never can.
bool all_arrived(const Thread& t, const Thread* warp, unsigned lanes) {
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if ((t.mask >> lane & 1) == 0) continue;
    if (lane >= lanes || warp[lane].state == State::exited)
      fail("thread " + std::to_string(t.id) + " at " + str(t.site) + " names lane " + std::to_string(lane) +
           (lane >= lanes ? ", which does not exist" : ", which has exited"));
    if (warp[lane].state != State::in_collective) return false;
    if ((warp[lane].mask >> t.lane() & 1) == 0) return false;  // it is with other lanes, and may still come
  }
  for (unsigned lane = 0; lane < lanes; ++lane) {
    if ((t.mask >> lane & 1) == 0) continue;
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
      const unsigned source = t.lane() ^ operand;
      return source < first + width ? source : t.lane();
    }
    case WarpOp::shuffle_down:
      return t.lane() + operand < first + width ? t.lane() + operand : t.lane();
    default:
      return t.lane();
  }
}

void complete(Thread& first, Thread* warp) {
  const unsigned mask = first.mask;
  std::uint64_t votes = 0;
  WarpClock joined{};
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    votes |= warp[lane].value << lane;
    for (unsigned i = 0; i < kWarp; ++i) joined[i] = std::max(joined[i], warp[lane].clock[i]);
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    Thread& t = warp[lane];
    if (t.op == WarpOp::ballot) {
      t.result = votes;
    } else if (t.op != WarpOp::sync) {
      const unsigned source = source_lane(t);
      if ((mask >> source & 1) == 0)
        fail("thread " + std::to_string(t.id) + " at " + str(t.site) + " reads lane " +
             std::to_string(source) + ", which is not in the mask");
      t.result = warp[source].value;
    }
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    Thread& t = warp[lane];
    t.state = State::ready;
    if (t.op != WarpOp::sync) continue;  // shuffles and votes order no memory accesses
    t.clock = joined;
    ++t.clock[lane];
  }
}

}  // namespace

bool complete_collectives(std::vector<Thread>& threads) {
  bool any = false;
  for (std::size_t first = 0; first < threads.size(); first += kWarp) {
    Thread* warp = threads.data() + first;
    const auto lanes = static_cast<unsigned>(std::min<std::size_t>(kWarp, threads.size() - first));
    for (unsigned lane = 0; lane < lanes; ++lane) {
      if (warp[lane].state != State::in_collective || !all_arrived(warp[lane], warp, lanes)) continue;
      complete(warp[lane], warp);
      any = true;
    }
  }
  return any;
}

}  // namespace simt
