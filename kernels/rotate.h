// Takes images out of a data set, turns them and normalises their pixels.
#pragma once

#include "kernels/common.h"

namespace evenkeel {

/// y[n] = (image index[n], rotated by angle[n] about its centre, / 255 - mean) / std. Nearest neighbour; ties
/// go to the even pixel; what comes from outside the image is background (pixel 0). As PyTorch's affine_grid
/// and grid_sample with align_corners=False: output (i,j) reads row s*(j-cw) + c*(i-ch) + ch, column c*(j-cw)
/// - s*(i-ch) + cw.
template <typename T>
struct RotateNormalizeArgs {
  T* y;                        // [N, 1, H, W]
  const std::uint8_t* images;  // [count, H, W]
  const std::int64_t* index;   // [N]
  const float* angle;          // [N], radians; or null: no rotation
  std::int64_t N, H, W;
  double mean, std;
  MemoryFormat format = MemoryFormat::strided;
};
EK_DECLARE_VECTOR_KERNEL(rotate_normalize, RotateNormalizeArgs)

}  // namespace evenkeel
