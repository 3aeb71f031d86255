// Ladders of CUDA kernels: the ways to compute one op, from the plain first one to the fastest. The
// dispatcher, the tests and bench_norms walk the same tables. docs/kernels.md says what each rung changes.
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

/// Declares cuda::name_variants<T>(), the ladder that cuda::name chooses from; defined in builds with CUDA.
#define EK_DECLARE_LADDER(name, Args) \
  namespace cuda {                    \
  template <typename T>               \
  Ladder<Args<T>> name##_variants();  \
  }

/// Defines cuda::name, and both for every type of storage.
#define EK_DEFINE_LADDER(name, Args)                      \
  template <typename T>                                   \
  void name(const Args<T>& args, Stream stream) {         \
    choose(name##_variants<T>(), args).run(args, stream); \
  }                                                       \
  EK_INSTANTIATE_LADDER(name, Args, float)                \
  EK_INSTANTIATE_LADDER(name, Args, double)               \
  EK_INSTANTIATE_LADDER(name, Args, bf16)                 \
  EK_INSTANTIATE_LADDER(name, Args, f16)
#define EK_INSTANTIATE_LADDER(name, Args, T)  \
  template Ladder<Args<T>> name##_variants(); \
  template void name(const Args<T>&, Stream);
