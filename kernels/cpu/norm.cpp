#include "evenkeel/kernels/cpu/norm.h"

#include "evenkeel/kernels/cpu/lanes/ops.h"

namespace evenkeel::cpu::EK_ISA {

template <typename T>
void norm_forward(const NormForwardArgs<T>& args) {
  const bool in_lanes = args.format == MemoryFormat::lanes;
  switch (args.partition) {
    case NormPartition::none:
      return;
    case NormPartition::batch:
      return in_lanes ? lanes::batch_norm_forward(args) : batch_norm_forward(args);
    case NormPartition::group:
      return in_lanes ? lanes::group_norm_forward(args) : group_norm_forward(args);
    case NormPartition::rows:
      return in_lanes ? lanes::layer_norm_forward(args) : layer_norm_forward(args);
    case NormPartition::pixels:
      return in_lanes ? lanes::layer_norm2d_forward(args) : layer_norm2d_forward(args);
  }
}

template <typename T>
void norm_backward(const NormBackwardArgs<T>& args) {
  const bool in_lanes = args.format == MemoryFormat::lanes;
  switch (args.partition) {
    case NormPartition::none:
      return;
    case NormPartition::batch:
      return in_lanes ? lanes::batch_norm_backward(args) : batch_norm_backward(args);
    case NormPartition::group:
      return in_lanes ? lanes::group_norm_backward(args) : group_norm_backward(args);
    case NormPartition::rows:
      return in_lanes ? lanes::layer_norm_backward(args) : layer_norm_backward(args);
    case NormPartition::pixels:
      return in_lanes ? lanes::layer_norm2d_backward(args) : layer_norm2d_backward(args);
  }
}

template void norm_forward(const NormForwardArgs<float>&);
template void norm_forward(const NormForwardArgs<double>&);
template void norm_backward(const NormBackwardArgs<float>&);
template void norm_backward(const NormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
