#include "reference/rotate.h"

#include <algorithm>
#include <cmath>

namespace reference {

Rotated rotate(const Array& image, double angle) {
  const Index H = image.size(0), W = image.size(1);
  const auto half = [](Index size) { return static_cast<double>(size) / 2; };
  Rotated result{Array(image.shape)};
  for (Index i = 0; i < H; ++i)
    for (Index j = 0; j < W; ++j) {
      // The centre of pixel (i, j) in coordinates whose origin is the centre of the image.
      const double down = static_cast<double>(i) + 0.5 - half(H),
                   right = static_cast<double>(j) + 0.5 - half(W);
      const double source_right = std::cos(angle) * right - std::sin(angle) * down;
      const double source_down = std::sin(angle) * right + std::cos(angle) * down;
      const double row = source_down + half(H) - 0.5, column = source_right + half(W) - 0.5;
      for (double at : {row, column}) {
        result.margin = std::min(result.margin, std::abs(at - std::floor(at) - 0.5));
      }
      const Index h = static_cast<Index>(std::nearbyint(row)), w = static_cast<Index>(std::nearbyint(column));
      if (h >= 0 && h < H && w >= 0 && w < W) result.pixels(i, j) = image(h, w);
    }
  return result;
}

}  // namespace reference
