// Tensors of the CPU whose images lie in units (kernels/fused_run.h), so that what ops and fused blocks of
// the CPU hand to each other need not be put in order between them. For everybody else they are tensors like
// all others: core/reordered.h.
#pragma once

#include "evenkeel/core/reordered.h"
#include "evenkeel/kernels/fused_run.h"
#include "evenkeel/nn/functional/fused_block_sizes.h"

namespace evenkeel::functional {

/// x [N, ...] in units, as a 1-D tensor; undefined where it does not lie so.
Tensor units_of(const Tensor& x);
/// Memory for images of `shape` in units, and the tensor [N, ...] that they are.
Tensor empty_units(const Shape& shape, DType dtype);
Tensor from_units(Tensor units, const Shape& shape);

/// x for a kernel to read, in units where it lies so.
template <typename T>
RunImages<const T> images(const Tensor& x) {
  if (!x.defined()) return {};
  const Tensor units = units_of(x);
  return units.defined() ? RunImages<const T>{units.data<T>(), true} : RunImages<const T>{x.data<T>(), false};
}

/// What the block makes of x, where that is worth it: for a convolution, and where x lies in units, so that
/// the output does too. Else undefined.
Tensor fused_alone(const RunNames& names, const Tensor& x, const FusedBlock& block);

}  // namespace evenkeel::functional
