// Which elements a normalization takes together, and PyTorch's defaults.
#pragma once

namespace evenkeel {

/// The partition of x [N, C, S], dense.
enum class NormPartition {
  none,   ///< no normalization; only in fused blocks (kernels/fused_block.h)
  batch,  ///< a set is a channel of all images: C sets, parameters [C] (Ioffe and Szegedy, 2015)
  group,  ///< C/G neighbouring channels of an image: N G sets, parameters [C] (Wu and He, 2018); G = C:
          ///< instance norm
  rows,   ///< the S elements of a row: N C sets, parameters [S]: layer norm over the last axes (Ba, Kiros and
          ///< Hinton, 2016)
  pixels  ///< the C channels of a pixel: N S sets, parameters [C]: layer norm over channels, as ConvNeXt's
          ///< LayerNorm2d
};

inline constexpr double kNormEps = 1e-5;           // added to variances
inline constexpr double kBatchNormMomentum = 0.1;  // the weight of a batch in running averages

}  // namespace evenkeel
