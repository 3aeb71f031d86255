#include "kernels/rotate.h"

#include <cmath>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace evenkeel::cpu {
namespace {

/// Writes one image: value[b] is the normalised value of a pixel of brightness b.
template <typename T>
EK_SIMD void rotate_image(T* y, const std::uint8_t* image, float angle, const T* value, std::int64_t H,
                          std::int64_t W) {
  // In f64 and rounded once, and fused multiply-adds that are written out: the same pixels on every device.
  const auto c = static_cast<float>(std::cos(static_cast<double>(angle)));
  const auto s = static_cast<float>(std::sin(static_cast<double>(angle)));
  const float centre_h = static_cast<float>(H - 1) / 2, centre_w = static_cast<float>(W - 1) / 2;
  for (std::int64_t i = 0; i < H; ++i) {
    for (std::int64_t j = 0; j < W; ++j) {
      const float di = static_cast<float>(i) - centre_h, dj = static_cast<float>(j) - centre_w;
      const auto h = static_cast<std::int64_t>(std::nearbyint(std::fma(s, dj, std::fma(c, di, centre_h))));
      const auto w = static_cast<std::int64_t>(std::nearbyint(std::fma(c, dj, std::fma(-s, di, centre_w))));
      const bool inside = h >= 0 && h < H && w >= 0 && w < W;
      y[i * W + j] = value[inside ? image[h * W + w] : 0];
    }
  }
}

}  // namespace

template <typename T>
void rotate_normalize(const RotateNormalizeArgs<T>& a) {
  T value[256];
  for (int b = 0; b < 256; ++b) value[b] = static_cast<T>((b / 255.0 - a.mean) / a.std);
  const std::int64_t size = a.H * a.W;
  parallel_for(a.N, 4 * size, [&](std::int64_t n) {
    const std::uint8_t* image = a.images + a.index[n] * size;
    T* y = a.y + n * size;
    if (a.angle != nullptr) {
      rotate_image(y, image, a.angle[n], value, a.H, a.W);
    } else {
      for (std::int64_t i = 0; i < size; ++i) y[i] = value[image[i]];
    }
  });
}

template void rotate_normalize(const RotateNormalizeArgs<float>&);
template void rotate_normalize(const RotateNormalizeArgs<double>&);

}  // namespace evenkeel::cpu
