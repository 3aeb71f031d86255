// The normalizations of the CPU a file a partition of kernels/norm.h.
#pragma once

#include "evenkeel/kernels/norm.h"

namespace evenkeel::cpu::EK_ISA {

template <typename T>
void batch_norm_forward(const NormForwardArgs<T>& args);
template <typename T>
void batch_norm_backward(const NormBackwardArgs<T>& args);
template <typename T>
void group_norm_forward(const NormForwardArgs<T>& args);
template <typename T>
void group_norm_backward(const NormBackwardArgs<T>& args);
template <typename T>
void layer_norm_forward(const NormForwardArgs<T>& args);
template <typename T>
void layer_norm_backward(const NormBackwardArgs<T>& args);
template <typename T>
void layer_norm2d_forward(const NormForwardArgs<T>& args);
template <typename T>
void layer_norm2d_backward(const NormBackwardArgs<T>& args);

}  // namespace evenkeel::cpu::EK_ISA
