// Turning an image, pixel by pixel: see kernels/rotate.h.
#pragma once

#include "evenkeel/kernels/cuda/simt.h"

namespace evenkeel::cuda {

/// What a pixel of brightness 0 .. 255 is normalised to. In f64, as on the CPU: worth a table of all 256.
template <typename T>
__device__ __forceinline__ T normalised(int brightness, double mean, double std) {
  return static_cast<T>((brightness / 255.0 - mean) / std);
}

/// Cosine and sine of a rotation.
struct Rotation {
  float cosine, sine;

  __device__ static Rotation by(float radians) {
    constexpr double kPi = 3.14159265358979323846;
    double s, c;
    sincospi(static_cast<double>(radians) / kPi, &s,
             &c);  // unlike sin and cos, without a table for huge angles
    return {static_cast<float>(c), static_cast<float>(s)};
  }
};

/// The brightness that pixel (i, j) of an image [H, W] has after its rotation; 0 from outside.
__device__ __forceinline__ int turned_pixel(const std::uint8_t* image, std::int64_t H, std::int64_t W,
                                            const Rotation& by, std::int64_t i, std::int64_t j) {
  const float centre_h = static_cast<float>(H - 1) / 2, centre_w = static_cast<float>(W - 1) / 2;
  const float di = static_cast<float>(i) - centre_h, dj = static_cast<float>(j) - centre_w;
  const auto h = static_cast<std::int64_t>(rintf(fmaf(by.sine, dj, fmaf(by.cosine, di, centre_h))));
  const auto w = static_cast<std::int64_t>(rintf(fmaf(by.cosine, dj, fmaf(-by.sine, di, centre_w))));
  return h >= 0 && h < H && w >= 0 && w < W ? image[h * W + w] : 0;
}

}  // namespace evenkeel::cuda
