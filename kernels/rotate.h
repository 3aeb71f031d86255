// Takes images out of a data set, turns them and normalises their pixels.
#pragma once

#include "evenkeel/kernels/common.h"

namespace evenkeel {

/// y[n] = (image index[n], rotated by angle[n] about its centre, / 255 - mean) / std. Nearest neighbour; ties
/// go to the even pixel; what comes from outside the image is background (pixel 0). As PyTorch's affine_grid
/// and grid_sample with align_corners=False: output (i,j) reads row s*(j-cw) + c*(i-ch) + ch, column c*(j-cw)
/// - s*(i-ch) + cw.
template <typename T>
struct RotateNormalizeArgs {
  T* y;                           // [N, 1, H, W]
  std::int64_t* label = nullptr;  // [N], or null: label[n] = labels[index[n]]
  const std::uint8_t* images;     // [count, H, W]
  const std::int64_t* index;      // [N], or more with `first`
  const float* angle;             // [N], radians; or null: no rotation
  std::int64_t N, H, W;
  double mean, std;
  const std::int64_t* labels = nullptr;  // [count], or null
  bool angle_of_image = false;           // angle is [count], that of image index[n] is angle[index[n]]
  const std::int64_t* first = nullptr;   // or null: index begins at index[*first], so that a graph can go on

  /// The image that output n shows, and its angle.
  EK_HOST_DEVICE std::int64_t image_of(std::int64_t n) const {
    return index[first == nullptr ? n : *first + n];
  }
  EK_HOST_DEVICE float angle_of(std::int64_t n) const { return angle[angle_of_image ? image_of(n) : n]; }
};
EK_DECLARE_CPU_VECTOR_KERNEL(rotate_normalize, RotateNormalizeArgs)
namespace cuda {
template <typename T>
void rotate_normalize(const RotateNormalizeArgs<T>& args, Stream stream);
}

}  // namespace evenkeel
