#include "evenkeel/kernels/rotate.h"

#include <cmath>

#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/kernels/cpu/scratch.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

/// A rotation. In f64 and rounded once, and used in fused multiply-adds that are written out: the same pixels
/// on every device.
struct Turn {
  float cos, sin;
  explicit Turn(float angle)
      : cos(static_cast<float>(std::cos(static_cast<double>(angle)))),
        sin(static_cast<float>(std::sin(static_cast<double>(angle)))) {}
};

/// Row i of a rotated image: value[b] is the normalised value of a pixel of brightness b.
template <typename T>
void rotate_row(T* y, const std::uint8_t* image, Turn turn, const T* value, std::int64_t H, std::int64_t W,
                std::int64_t i) {
  const float centre_h = static_cast<float>(H - 1) / 2, centre_w = static_cast<float>(W - 1) / 2;
  const float di = static_cast<float>(i) - centre_h;
  const float h0 = std::fma(turn.cos, di, centre_h), w0 = std::fma(-turn.sin, di, centre_w);
  // Addresses first, which is vector code, then the pixels. What lies outside is pixel 0 times 0: a branch
  // would be mispredicted.
  constexpr std::int64_t kColumns = 64;
  const auto rows = static_cast<std::int32_t>(H), columns = static_cast<std::int32_t>(W);
  std::int32_t pixel[kColumns], inside[kColumns];
  for (std::int64_t first = 0; first < W; first += kColumns) {
    const std::int64_t n = std::min(kColumns, W - first);
    for (std::int64_t j = 0; j < n; ++j) {
      const float dj = static_cast<float>(first + j) - centre_w;
      const auto row = static_cast<std::int32_t>(std::nearbyint(std::fma(turn.sin, dj, h0)));
      const auto column = static_cast<std::int32_t>(std::nearbyint(std::fma(turn.cos, dj, w0)));
      inside[j] = -static_cast<std::int32_t>((row >= 0) & (row < rows) & (column >= 0) & (column < columns));
      pixel[j] = static_cast<std::int32_t>(static_cast<std::uint32_t>(row) * columns + column) & inside[j];
    }
    for (std::int64_t j = 0; j < n; ++j) y[first + j] = value[image[pixel[j]] & inside[j]];
  }
}

/// Row i of image n of the output.
template <typename T>
void write_row(T* y, const RotateNormalizeArgs<T>& a, const Turn* turns, const T* value, std::int64_t n,
               std::int64_t i) {
  const std::uint8_t* image = a.images + a.image_of(n) * a.H * a.W;
  if (turns != nullptr) return rotate_row(y, image, turns[n], value, a.H, a.W, i);
  for (std::int64_t j = 0; j < a.W; ++j) y[j] = value[image[i * a.W + j]];
}

}  // namespace

template <typename T>
void rotate_normalize(const RotateNormalizeArgs<T>& a) {
  T value[256];
  for (int b = 0; b < 256; ++b) value[b] = static_cast<T>((b / 255.0 - a.mean) / a.std);
  static thread_local Scratch scratch;
  Turn* turns = a.angle != nullptr ? scratch.get<Turn>(a.N) : nullptr;
  for (std::int64_t n = 0; turns != nullptr && n < a.N; ++n) turns[n] = Turn(a.angle_of(n));

  for (std::int64_t n = 0; a.label != nullptr && n < a.N; ++n) a.label[n] = a.labels[a.image_of(n)];

  // The images of a batch lie anywhere in the data set: ask for them together, not one after the other.
  for (std::int64_t n = 0; n < a.N; ++n) {
    for (std::int64_t i = 0; i < a.H * a.W; i += 64)
      __builtin_prefetch(a.images + a.image_of(n) * a.H * a.W + i);
  }

  parallel_for(a.N * a.H, 4 * a.W,
               [&](std::int64_t row) { write_row(a.y + row * a.W, a, turns, value, row / a.H, row % a.H); });
}

template void rotate_normalize(const RotateNormalizeArgs<float>&);
template void rotate_normalize(const RotateNormalizeArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
