// The kernels of each normalization, a file each; defined for f32, f64, bf16 and f16.
#pragma once

#include "evenkeel/kernels/norm.h"

namespace evenkeel::cuda {

template <typename T>
Ladder<NormForwardArgs<T>> batch_norm_forward_variants();
template <typename T>
Ladder<NormBackwardArgs<T>> batch_norm_backward_variants();
template <typename T>
Ladder<NormForwardArgs<T>> group_norm_forward_variants();
template <typename T>
Ladder<NormBackwardArgs<T>> group_norm_backward_variants();
template <typename T>
Ladder<NormForwardArgs<T>> layer_norm_forward_variants();
template <typename T>
Ladder<NormBackwardArgs<T>> layer_norm_backward_variants();
template <typename T>
Ladder<NormForwardArgs<T>> layer_norm2d_forward_variants();
template <typename T>
Ladder<NormBackwardArgs<T>> layer_norm2d_backward_variants();

}  // namespace evenkeel::cuda
