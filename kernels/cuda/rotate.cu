#include "kernels/rotate.h"

#include "kernels/cuda/vector.cuh"

namespace evenkeel::cuda {
namespace {

constexpr int kThreads = 256;
constexpr double kPi = 3.14159265358979323846;

/// One image a block: y[n] [H, W] from images[index[n]], rotated and normalised. `value` of a pixel is
/// computed in f64 for each of the 256 brightnesses, once a block, and looked up, as on the CPU. Bytes: H W
/// (1 + sizeof(T)) an image, and 12 for its index and angle, 16 for its label.
template <typename T>
__global__ void __launch_bounds__(kThreads) rotate_normalize_kernel(RotateNormalizeArgs<T> a) {
  SIMT_SHARED(T, value, [256]);
  SIMT_SHARED(float, turn, [2]);  // cosine and sine
  const std::int64_t n = blockIdx.x, size = a.H * a.W;
  for (int b = threadIdx.x; b < 256; b += kThreads) value[b] = static_cast<T>((b / 255.0 - a.mean) / a.std);
  if (threadIdx.x == 0) {
    const double angle = a.angle != nullptr ? a.angle_of(n) : 0;
    double sine, cosine;
    sincospi(angle / kPi, &sine, &cosine);  // unlike sin and cos, without a table for huge angles
    turn[0] = static_cast<float>(cosine);
    turn[1] = static_cast<float>(sine);
    if (a.label != nullptr) a.label[n] = a.labels[a.image_of(n)];
  }
  __syncthreads();
  const float c = turn[0], s = turn[1];
  const float centre_h = static_cast<float>(a.H - 1) / 2, centre_w = static_cast<float>(a.W - 1) / 2;
  const std::uint8_t* image = a.images + a.image_of(n) * size;
  for (std::int64_t pixel = threadIdx.x; pixel < size; pixel += kThreads) {
    const float di = static_cast<float>(pixel / a.W) - centre_h,
                dj = static_cast<float>(pixel % a.W) - centre_w;
    const auto h = static_cast<std::int64_t>(rintf(fmaf(s, dj, fmaf(c, di, centre_h))));
    const auto w = static_cast<std::int64_t>(rintf(fmaf(c, dj, fmaf(-s, di, centre_w))));
    const bool inside = h >= 0 && h < a.H && w >= 0 && w < a.W;
    a.y[n * size + pixel] = value[inside ? image[h * a.W + w] : 0];
  }
}

}  // namespace

template <typename T>
void rotate_normalize(const RotateNormalizeArgs<T>& a, Stream stream) {
  launch("rotate_normalize", rotate_normalize_kernel<T>, {a.N, kThreads, 0, stream}, a);
}

template void rotate_normalize(const RotateNormalizeArgs<float>&, Stream);
template void rotate_normalize(const RotateNormalizeArgs<double>&, Stream);

}  // namespace evenkeel::cuda
