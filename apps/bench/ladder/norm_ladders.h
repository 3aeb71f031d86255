// The whole ladders of the normalizations, which bench_norms and tests/test_norm_variants.cpp walk: the rungs
// that the library has and, after the plain one, those that a later rung has replaced. CUDA only.
#pragma once

#include <vector>

#include "evenkeel/kernels/norm.h"

namespace evenkeel::bench {

// Rungs that the dispatcher would never choose: a later one supports whatever they support. For every type of
// storage.
template <typename T>
Ladder<NormForwardArgs<T>> replaced_batch_norm_forward_variants();
template <typename T>
Ladder<NormBackwardArgs<T>> replaced_batch_norm_backward_variants();
template <typename T>
Ladder<NormBackwardArgs<T>> replaced_group_norm_backward_variants();

/// The library's ladder with the replaced rungs after its first one.
template <typename Args>
std::vector<Variant<Args>> with_replaced(Ladder<Args> library, Ladder<Args> replaced) {
  std::vector<Variant<Args>> rungs(library.begin(), library.end());
  rungs.insert(rungs.begin() + 1, replaced.begin(), replaced.end());
  return rungs;
}

/// All rungs, from the plain one to the fastest, of a partition.
template <typename T>
std::vector<Variant<NormForwardArgs<T>>> all_forward_variants(NormPartition partition) {
  const bool batch = partition == NormPartition::batch;
  return with_replaced(cuda::norm_forward_variants<T>(partition),
                       batch ? replaced_batch_norm_forward_variants<T>() : Ladder<NormForwardArgs<T>>{});
}
template <typename T>
std::vector<Variant<NormBackwardArgs<T>>> all_backward_variants(NormPartition partition) {
  const Ladder<NormBackwardArgs<T>> library = cuda::norm_backward_variants<T>(partition);
  switch (partition) {
    case NormPartition::batch:
      return with_replaced(library, replaced_batch_norm_backward_variants<T>());
    case NormPartition::group:
      return with_replaced(library, replaced_group_norm_backward_variants<T>());
    default:
      return with_replaced(library, {});
  }
}

}  // namespace evenkeel::bench
