#include "evenkeel/kernels/rotate.h"

#include "evenkeel/kernels/cuda/rotate.cuh"

namespace evenkeel::cuda {
namespace {

constexpr int kThreads = 256;

/// One image a block: y[n] [H, W] from images[index[n]], rotated and normalised. `value` of a pixel is
/// computed in f64 for each of the 256 brightnesses, once a block, and looked up, as on the CPU. Bytes: H W
/// (1 + sizeof(T)) an image, and 12 for its index and angle, 16 for its label.
template <typename T>
__global__ void __launch_bounds__(kThreads) rotate_normalize_kernel(RotateNormalizeArgs<T> a) {
  SIMT_SHARED(T, value, [256]);
  SIMT_SHARED(Rotation, rotation, [1]);
  const std::int64_t n = blockIdx.x, size = a.H * a.W;
  for (int b = threadIdx.x; b < 256; b += kThreads) value[b] = normalised<T>(b, a.mean, a.std);
  if (threadIdx.x == 0) {
    rotation[0] = Rotation::by(a.angle != nullptr ? a.angle_of(n) : 0);
    if (a.label != nullptr) a.label[n] = a.labels[a.image_of(n)];
  }
  __syncthreads();
  const std::uint8_t* image = a.images + a.image_of(n) * size;
  for (std::int64_t pixel = threadIdx.x; pixel < size; pixel += kThreads)
    a.y[n * size + pixel] = value[turned_pixel(image, a.H, a.W, rotation[0], pixel / a.W, pixel % a.W)];
}

}  // namespace

template <typename T>
void rotate_normalize(const RotateNormalizeArgs<T>& a, Stream stream) {
  launch("rotate_normalize", rotate_normalize_kernel<T>, {a.N, kThreads, 0, stream}, a);
}

template void rotate_normalize(const RotateNormalizeArgs<float>&, Stream);
template void rotate_normalize(const RotateNormalizeArgs<double>&, Stream);

}  // namespace evenkeel::cuda
