// Rotation about the centre with the nearest neighbour, as torch's affine_grid and grid_sample do it with
// align_corners=False.
#pragma once

#include "reference/array.h"

namespace reference {

struct Rotated {
  Array pixels;       // [H, W]
  double margin = 1;  // how far the nearest source coordinate is from the tie between two pixels
};

/// image [H, W], angle in radians; what comes from outside is 0.
Rotated rotate(const Array& image, double angle);

}  // namespace reference
