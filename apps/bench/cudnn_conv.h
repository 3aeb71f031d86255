// cuDNN's convolutions, a peer to measure ours against. The library is loaded when it is first asked for, and
// nothing else needs it. CUDA only.
#pragma once

#include <string>

#include "evenkeel/kernels/conv2d.h"

namespace evenkeel::bench {

/// Why cuDNN cannot be used, or "" if it can: built without its headers, not installed, or an entry point is
/// missing. It is looked for as $EVENKEEL_CUDNN, else libcudnn.so.9 where the loader looks.
const std::string& why_no_cudnn();

// As the functions of kernels/conv2d.h, for float and double, of arrays that are not empty: cuDNN knows no
// empty ones. f32 arithmetic without TF32, deterministic algorithms only. They throw std::runtime_error, with
// the reason, if cuDNN cannot be used or one of its calls fails.
template <typename T>
void cudnn_conv2d_forward(const Conv2dForwardArgs<T>& args, Stream stream);
template <typename T>
void cudnn_conv2d_backward_input(const Conv2dBackwardInputArgs<T>& args, Stream stream);
template <typename T>
void cudnn_conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>& args, Stream stream);

}  // namespace evenkeel::bench
