#include "evenkeel/kernels/cpu/norm.h"

namespace evenkeel::cpu::EK_ISA {

template <typename T>
void norm_forward(const NormForwardArgs<T>& args) {
  switch (args.partition) {
    case NormPartition::none:
      return;
    case NormPartition::batch:
      return batch_norm_forward(args);
    case NormPartition::group:
      return group_norm_forward(args);
    case NormPartition::rows:
      return layer_norm_forward(args);
    case NormPartition::pixels:
      return layer_norm2d_forward(args);
  }
}

template <typename T>
void norm_backward(const NormBackwardArgs<T>& args) {
  switch (args.partition) {
    case NormPartition::none:
      return;
    case NormPartition::batch:
      return batch_norm_backward(args);
    case NormPartition::group:
      return group_norm_backward(args);
    case NormPartition::rows:
      return layer_norm_backward(args);
    case NormPartition::pixels:
      return layer_norm2d_backward(args);
  }
}

template void norm_forward(const NormForwardArgs<float>&);
template void norm_forward(const NormForwardArgs<double>&);
template void norm_backward(const NormBackwardArgs<float>&);
template void norm_backward(const NormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
