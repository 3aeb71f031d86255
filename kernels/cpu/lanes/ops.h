// The kernels for MemoryFormat::lanes, which those of cpu:: call when their args ask for it.
#pragma once

#include "evenkeel/kernels/batch_norm.h"
#include "evenkeel/kernels/conv2d.h"
#include "evenkeel/kernels/dropout.h"
#include "evenkeel/kernels/group_norm.h"
#include "evenkeel/kernels/layer_norm.h"
#include "evenkeel/kernels/layer_norm2d.h"
#include "evenkeel/kernels/pool2d.h"

namespace evenkeel::cpu::EK_ISA::lanes {

#define EK_DECLARE_LANES(name, Args) \
  template <typename T>              \
  void name(const Args<T>& args);
EK_DECLARE_LANES(batch_norm_forward, BatchNormForwardArgs)
EK_DECLARE_LANES(batch_norm_backward, BatchNormBackwardArgs)
EK_DECLARE_LANES(conv2d_forward, Conv2dForwardArgs)
EK_DECLARE_LANES(conv2d_backward_input, Conv2dBackwardInputArgs)
EK_DECLARE_LANES(conv2d_backward_weight, Conv2dBackwardWeightArgs)
EK_DECLARE_LANES(dropout, DropoutArgs)
EK_DECLARE_LANES(group_norm_forward, GroupNormForwardArgs)
EK_DECLARE_LANES(group_norm_backward, GroupNormBackwardArgs)
EK_DECLARE_LANES(layer_norm_forward, LayerNormForwardArgs)
EK_DECLARE_LANES(layer_norm_backward, LayerNormBackwardArgs)
EK_DECLARE_LANES(layer_norm2d_forward, LayerNorm2dForwardArgs)
EK_DECLARE_LANES(layer_norm2d_backward, LayerNorm2dBackwardArgs)
EK_DECLARE_LANES(max_pool2d_forward, MaxPool2dForwardArgs)
EK_DECLARE_LANES(max_pool2d_backward, MaxPool2dBackwardArgs)
EK_DECLARE_LANES(avg_pool2d_forward, AvgPool2dForwardArgs)
EK_DECLARE_LANES(avg_pool2d_backward, AvgPool2dBackwardArgs)
#undef EK_DECLARE_LANES

}  // namespace evenkeel::cpu::EK_ISA::lanes
