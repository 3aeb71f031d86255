// Ladders of CUDA kernels: the ways to compute one op, from the plain first one to the fastest. The library
// has the plain rung and those that the dispatcher chooses for some arguments; rungs that a later one has
// replaced for all of them are in apps/bench/ladder. docs/kernels.md says what each rung changes.
#pragma once

#include <span>
#include <stdexcept>

#include "evenkeel/kernels/common.h"

namespace evenkeel {

/// One rung.
template <typename Args>
struct Variant {
  const char* name;
  const char* idea;
  bool (*supports)(const Args&);
  void (*run)(const Args&, Stream);  // of arguments that it supports
};

template <typename Args>
using Ladder = std::span<const Variant<Args>>;

/// The last rung that supports the arguments. The order, and the sizes up to which a rung supports arguments,
/// come from counting bytes and occupancy; they have not been measured on a GPU yet.
template <typename Args>
const Variant<Args>& choose(Ladder<Args> ladder, const Args& args) {
  for (std::size_t i = ladder.size(); i-- > 0;) {
    if (ladder[i].supports(args)) return ladder[i];
  }
  throw std::logic_error("no kernel supports these arguments");
}

}  // namespace evenkeel
