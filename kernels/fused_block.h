// A chain of convolutions with what stands between them - ReLU, normalization, pooling, dropout - in one
// kernel a convolution and direction. CUDA only: one block computes one image, in shared memory.
//
// The forward kernel of a convolution makes its input from z, the output of the convolution before it, by
// that one's tail, convolves, and leaves its own z and the statistics that its own tail will need. The
// backward kernel makes the same input again, from it the gradient of the filters, and hands the gradient of
// its input back through the tail before. So memory holds the z and little else.
#pragma once

#include "evenkeel/kernels/common.h"
#include "evenkeel/kernels/philox.h"

namespace evenkeel {

/// Which elements of z are normalised together. batch: a channel of all images. group: neighbouring channels
/// of an image, all its pixels. rows: the last axes of an image, `set_size` elements (layer norm). pixels:
/// the channels of a pixel (layer norm over C).
enum class ChainNorm { none, batch, group, rows, pixels };
enum class ChainPool { none, max, average };

/// A mean in two parts, high + low, and what is said of the spread about it: the moments of an image have the
/// sum of squared distances, statistics have rstd = 1 / sqrt(biased variance + eps).
template <typename T>
struct ChainStatistics {
  T high, low, spread;
};

/// What follows a convolution, in this order: relu_first, norm, relu, pool, dropout; each may be missing. The
/// default does nothing.
template <typename T>
struct ChainTail {
  const T* z = nullptr;  // [N, C, H, W], the convolution's output
  std::int64_t N = 0;
  int C = 0, H = 0, W = 0;
  bool relu_first = false, relu = false;

  ChainNorm norm = ChainNorm::none;
  int sets = 0, set_size = 0;  // of an image; for batch: C sets of H W
  bool training = true;        // batch: false takes the running statistics
  double eps = 0, momentum = 0;
  const T* gamma = nullptr;                  // [C], for rows [set_size]; null: 1
  const T* beta = nullptr;                   // likewise; null: 0
  ChainStatistics<T>* moments = nullptr;     // batch, training: [N, C]
  ChainStatistics<T>* statistics = nullptr;  // [N, sets], for batch [C]
  T* running_mean = nullptr;                 // batch: [C], updated when training; null: none
  T* running_var = nullptr;
  std::int64_t* batches_tracked = nullptr;  // batch: incremented when training; null: none

  ChainPool pool = ChainPool::none;
  int window = 1;  // pooled in windows of window x window that do not overlap
  double p = 0;    // dropout; of number n of `key` for element n of the result
  RandomKey key{};

  // Backward.
  T* dz = nullptr;     // [N, C, H, W]: the gradient of z; not for batch
  T* dnorm = nullptr;  // [N, C, H, W]: that of the norm's output, for batch, and for rows with gamma or beta
  T* channel_sums = nullptr;  // [N, 2, C]: sums of dnorm xhat and dnorm over the pixels of an image, for
                              // batch, and for group and pixels with gamma or beta; else null

  EK_HOST_DEVICE int pooled_height() const { return H / window; }
  EK_HOST_DEVICE int pooled_width() const { return W / window; }
};

/// z[n,k,p,q] = sum over c,r,s of weight[k,c,r,s] x[n,c,p+r-pad,q+s-pad], filters R x R, R 1 or 3; x is what
/// `before` makes of its z, or `input` [N, C, H, W]. Also the moments or statistics of z that `after` names.
/// R 0: no convolution, z is x.
template <typename T>
struct ChainForwardArgs {
  T* z;
  ChainTail<T> after;
  const T* input;  // or null
  ChainTail<T> before;
  const T* weight;
  std::int64_t N;
  int C, H, W, K, R, pad;
};
EK_DECLARE_CUDA_KERNEL(chain_forward, ChainForwardArgs)

/// dy is the gradient of z, or null: then it is after.dz, or made from after.dnorm. Makes the gradient of the
/// filters of each image, [N, K, C, R, R], and hands the gradient of x back through `before`, or into dx; R
/// 0: no filters, the gradient of x is dy.
template <typename T>
struct ChainBackwardArgs {
  T* weight_partials;
  T* dx;  // where there is no tail before: the gradient of input, or null
  const T* dy;
  ChainTail<T> after;
  const T* input;
  ChainTail<T> before;
  const T* weight;
  std::int64_t N;
  int C, H, W, K, R, pad;
};
EK_DECLARE_CUDA_KERNEL(chain_backward, ChainBackwardArgs)

/// The gradient of a parameter as a sum over rows: out[d] = sum over m of rows[m * stride + d] f, d < D, with
/// f = 1, or where z is given f = xhat[m, d] of the norm of z, whose statistics are [M].
template <typename T>
struct ChainSum {
  T* out;
  const T* rows;
  std::int64_t count, stride;
  int D;
  const T* z = nullptr;
  const ChainStatistics<T>* statistics = nullptr;
  bool relu_first = false;
};
/// All gradients of the parameters of a chain, in one launch for every 32.
template <typename T>
struct ChainSumsArgs {
  const ChainSum<T>* sums;  // an array on the host
  int count;
};
EK_DECLARE_CUDA_KERNEL(chain_sums, ChainSumsArgs)

namespace cuda {
/// True if both kernels of a convolution have room in the shared memory of a block of CUDA device `index`;
/// only sizes are read.
template <typename T>
bool chain_fits(const ChainForwardArgs<T>& forward, const ChainBackwardArgs<T>& backward);
}  // namespace cuda

}  // namespace evenkeel
