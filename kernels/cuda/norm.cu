#include "evenkeel/kernels/cuda/norm_ladders.h"

namespace evenkeel::cuda {

template <typename T>
Ladder<NormForwardArgs<T>> norm_forward_variants(NormPartition partition) {
  switch (partition) {
    case NormPartition::none:
      break;
    case NormPartition::batch:
      return batch_norm_forward_variants<T>();
    case NormPartition::group:
      return group_norm_forward_variants<T>();
    case NormPartition::rows:
      return layer_norm_forward_variants<T>();
    case NormPartition::pixels:
      return layer_norm2d_forward_variants<T>();
  }
  return {};
}

template <typename T>
void norm_forward(const NormForwardArgs<T>& args, Stream stream) {
  choose(norm_forward_variants<T>(args.partition), args).run(args, stream);
}

template <typename T>
Ladder<NormBackwardArgs<T>> norm_backward_variants(NormPartition partition) {
  switch (partition) {
    case NormPartition::none:
      break;
    case NormPartition::batch:
      return batch_norm_backward_variants<T>();
    case NormPartition::group:
      return group_norm_backward_variants<T>();
    case NormPartition::rows:
      return layer_norm_backward_variants<T>();
    case NormPartition::pixels:
      return layer_norm2d_backward_variants<T>();
  }
  return {};
}

template <typename T>
void norm_backward(const NormBackwardArgs<T>& args, Stream stream) {
  choose(norm_backward_variants<T>(args.partition), args).run(args, stream);
}

#define EK_INSTANTIATE(T)                                                        \
  template Ladder<NormForwardArgs<T>> norm_forward_variants<T>(NormPartition);   \
  template Ladder<NormBackwardArgs<T>> norm_backward_variants<T>(NormPartition); \
  template void norm_forward(const NormForwardArgs<T>&, Stream);                 \
  template void norm_backward(const NormBackwardArgs<T>&, Stream);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
EK_INSTANTIATE(bf16)
EK_INSTANTIATE(f16)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cuda
