// cuDNN's convolutions in place of our own: a baseline to measure against, and a backend for those who want
// it. The library is loaded when it is first asked for, and nothing else needs it.
#pragma once

#include <string>

#include "evenkeel/kernels/conv2d.h"

namespace evenkeel::cuda {

/// Whose kernels conv2d on CUDA devices runs. The results differ by rounding.
enum class ConvBackend { own, cudnn };

/// Throws std::runtime_error, with the reason, if cuDNN cannot be used.
void set_conv_backend(ConvBackend backend);
ConvBackend conv_backend();

/// Why cuDNN cannot be used, or "" if it can: built without its headers, not installed, or an entry point is
/// missing. It is looked for as $EVENKEEL_CUDNN, else libcudnn.so.9 where the loader looks.
const std::string& why_no_cudnn();

// As the functions of kernels/conv2d.h; f32 arithmetic without TF32, deterministic algorithms only.
template <typename T>
void cudnn_conv2d_forward(const Conv2dForwardArgs<T>& args, Stream stream);
template <typename T>
void cudnn_conv2d_backward_input(const Conv2dBackwardInputArgs<T>& args, Stream stream);
template <typename T>
void cudnn_conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>& args, Stream stream);

}  // namespace evenkeel::cuda
