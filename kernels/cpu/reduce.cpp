#include "evenkeel/kernels/reduce.h"

#include "evenkeel/kernels/cpu/strided.h"

namespace evenkeel::cpu {
namespace {

/// Calls finish(o, element) for every output o; element(i) is input i, row-major over `reduced`, of `count`.
template <typename Args, typename F>
void reduce(const Args& args, F finish) {
  Extents reduced = args.reduced, strides = args.reduced_strides;
  coalesce(reduced, strides);
  std::int64_t outputs = 1, count = 1;
  for (int d = 0; d < args.kept.rank; ++d) outputs *= args.kept.at[d];
  for (int d = 0; d < reduced.rank; ++d) count *= reduced.at[d];
  parallel_for(outputs, count, [&](std::int64_t o) {
    const auto* x = args.x + offsets_of(o, args.kept.rank, args.kept, args.kept_strides)[0];
    finish(o, count, [&](std::int64_t i) { return x[offsets_of(i, reduced.rank, reduced, strides)[0]]; });
  });
}

template <typename T>
bool is_larger(T x, T than) {
  return x > than || (x != x && than == than);  // NaN alone differs from itself
}

}  // namespace

template <typename T>
void sum(const ReduceArgs<T>& args) {
  reduce(args, [&](std::int64_t o, std::int64_t count, const auto& element) {
    double total = 0;
    for (std::int64_t i = 0; i < count; ++i) total += element(i);
    args.y[o] = static_cast<T>(total);
  });
}

template <typename T>
void max(const ReduceArgs<T>& args) {
  reduce(args, [&](std::int64_t o, std::int64_t count, const auto& element) {
    T best = element(0);
    for (std::int64_t i = 1; i < count; ++i) {
      if (is_larger(element(i), best)) best = element(i);
    }
    args.y[o] = best;
  });
}

template <typename T>
void argmax(const ArgmaxArgs<T>& args) {
  reduce(args, [&](std::int64_t o, std::int64_t count, const auto& element) {
    std::int64_t best = 0;
    for (std::int64_t i = 1; i < count; ++i) {
      if (is_larger(element(i), element(best))) best = i;
    }
    args.index[o] = best;
  });
}

template void sum(const ReduceArgs<float>&);
template void sum(const ReduceArgs<double>&);
template void max(const ReduceArgs<float>&);
template void max(const ReduceArgs<double>&);
template void max(const ReduceArgs<std::int64_t>&);
template void argmax(const ArgmaxArgs<float>&);
template void argmax(const ArgmaxArgs<double>&);
template void argmax(const ArgmaxArgs<std::int64_t>&);

}  // namespace evenkeel::cpu
