// The whole ladders of the normalizations, which bench_norms and tests/test_norm_variants.cpp walk: the rungs
// that the library has and, after the plain one, those that a later rung has replaced. CUDA only.
#pragma once

#include <vector>

#include "evenkeel/kernels/batch_norm.h"
#include "evenkeel/kernels/group_norm.h"
#include "evenkeel/kernels/layer_norm.h"
#include "evenkeel/kernels/layer_norm2d.h"

namespace evenkeel::bench {

// Rungs that the dispatcher would never choose: a later one supports whatever they support. For every type of
// storage.
template <typename T>
Ladder<BatchNormForwardArgs<T>> replaced_batch_norm_forward_variants();
template <typename T>
Ladder<BatchNormBackwardArgs<T>> replaced_batch_norm_backward_variants();
template <typename T>
Ladder<GroupNormBackwardArgs<T>> replaced_group_norm_backward_variants();

/// The library's ladder with the replaced rungs after its first one.
template <typename Args>
std::vector<Variant<Args>> with_replaced(Ladder<Args> library, Ladder<Args> replaced = {}) {
  std::vector<Variant<Args>> rungs(library.begin(), library.end());
  rungs.insert(rungs.begin() + 1, replaced.begin(), replaced.end());
  return rungs;
}

// All rungs, from the plain one to the fastest, of the op and pass that such args belong to, whatever is in
// them.
template <typename T>
std::vector<Variant<LayerNormForwardArgs<T>>> all_variants(const LayerNormForwardArgs<T>&) {
  return with_replaced(cuda::layer_norm_forward_variants<T>());
}
template <typename T>
std::vector<Variant<LayerNormBackwardArgs<T>>> all_variants(const LayerNormBackwardArgs<T>&) {
  return with_replaced(cuda::layer_norm_backward_variants<T>());
}
template <typename T>
std::vector<Variant<GroupNormForwardArgs<T>>> all_variants(const GroupNormForwardArgs<T>&) {
  return with_replaced(cuda::group_norm_forward_variants<T>());
}
template <typename T>
std::vector<Variant<GroupNormBackwardArgs<T>>> all_variants(const GroupNormBackwardArgs<T>&) {
  return with_replaced(cuda::group_norm_backward_variants<T>(), replaced_group_norm_backward_variants<T>());
}
template <typename T>
std::vector<Variant<BatchNormForwardArgs<T>>> all_variants(const BatchNormForwardArgs<T>&) {
  return with_replaced(cuda::batch_norm_forward_variants<T>(), replaced_batch_norm_forward_variants<T>());
}
template <typename T>
std::vector<Variant<BatchNormBackwardArgs<T>>> all_variants(const BatchNormBackwardArgs<T>&) {
  return with_replaced(cuda::batch_norm_backward_variants<T>(), replaced_batch_norm_backward_variants<T>());
}
template <typename T>
std::vector<Variant<LayerNorm2dForwardArgs<T>>> all_variants(const LayerNorm2dForwardArgs<T>&) {
  return with_replaced(cuda::layer_norm2d_forward_variants<T>());
}
template <typename T>
std::vector<Variant<LayerNorm2dBackwardArgs<T>>> all_variants(const LayerNorm2dBackwardArgs<T>&) {
  return with_replaced(cuda::layer_norm2d_backward_variants<T>());
}

}  // namespace evenkeel::bench
