// PyTorch's defaults for normalizations, which layers, functions and kernels take from here.
#pragma once

namespace evenkeel {

inline constexpr double kNormEps = 1e-5;           // added to variances
inline constexpr double kBatchNormMomentum = 0.1;  // the weight of a batch in running averages

}  // namespace evenkeel
