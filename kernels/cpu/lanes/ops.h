// The kernels for MemoryFormat::lanes, which those of cpu:: call when their args ask for it.
#pragma once

#include "evenkeel/kernels/conv2d.h"
#include "evenkeel/kernels/dropout.h"
#include "evenkeel/kernels/norm.h"
#include "evenkeel/kernels/pool2d.h"

namespace evenkeel::cpu::EK_ISA::lanes {

#define EK_DECLARE_LANES(name, Args) \
  template <typename T>              \
  void name(const Args<T>& args);
EK_DECLARE_LANES(batch_norm_forward, NormForwardArgs)
EK_DECLARE_LANES(batch_norm_backward, NormBackwardArgs)
EK_DECLARE_LANES(conv2d_forward, Conv2dForwardArgs)
EK_DECLARE_LANES(conv2d_backward_input, Conv2dBackwardInputArgs)
EK_DECLARE_LANES(conv2d_backward_weight, Conv2dBackwardWeightArgs)
EK_DECLARE_LANES(dropout, DropoutArgs)
EK_DECLARE_LANES(group_norm_forward, NormForwardArgs)
EK_DECLARE_LANES(group_norm_backward, NormBackwardArgs)
EK_DECLARE_LANES(layer_norm_forward, NormForwardArgs)
EK_DECLARE_LANES(layer_norm_backward, NormBackwardArgs)
EK_DECLARE_LANES(layer_norm2d_forward, NormForwardArgs)
EK_DECLARE_LANES(layer_norm2d_backward, NormBackwardArgs)
EK_DECLARE_LANES(max_pool2d_forward, MaxPool2dForwardArgs)
EK_DECLARE_LANES(max_pool2d_backward, MaxPool2dBackwardArgs)
EK_DECLARE_LANES(avg_pool2d_forward, AvgPool2dForwardArgs)
EK_DECLARE_LANES(avg_pool2d_backward, AvgPool2dBackwardArgs)
#undef EK_DECLARE_LANES

}  // namespace evenkeel::cpu::EK_ISA::lanes
