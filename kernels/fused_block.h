// Fused blocks: a convolution and what follows it, its epilogue - ReLU, normalization, pooling, dropout - in
// one kernel a convolution and direction. CUDA only: a thread block computes an image, in shared memory.
//
// The forward kernel of a convolution makes its input x from z, the output of the convolution before it, by
// the epilogue of that block, convolves, and stores its own z and the statistics that its own epilogue will
// need. The backward kernel makes the same x again, from it the gradient of the filters, and takes the
// gradient of x through the epilogue before. So memory holds the z and little else.
#pragma once

#include "evenkeel/kernels/common.h"
#include "evenkeel/kernels/norm_partition.h"
#include "evenkeel/kernels/philox.h"

namespace evenkeel {

enum class FusedPool { none, max, average };

/// A mean in two parts, high + low, and what is said of the spread about it: the moments of an image have the
/// sum of squared distances, statistics have rstd = 1 / sqrt(biased variance + eps).
template <typename T>
struct FusedStatistics {
  T high, low, spread;
};

/// The parameters and buffers of a block in the memory of its device. Kernels that train it write parameters:
/// their Parameter is T.
template <typename T, typename Parameter = const T>
struct FusedBlockPointers {
  Parameter* weight;              // [K, C, R, R]
  Parameter* gamma;               // [K], for rows [set_size]; null: 1
  Parameter* beta;                // as gamma; null: 0
  T* running_mean;                // batch: [K], updated when training; null: none
  T* running_var;                 // as running_mean
  std::int64_t* batches_tracked;  // batch: incremented when training; null: none

  EK_HOST_DEVICE FusedBlockPointers<T> read_only() const {
    return {weight, gamma, beta, running_mean, running_var, batches_tracked};
  }
};

/// What follows a convolution, in this order: relu_first, norm, relu, pool, dropout; each may be missing. The
/// default does nothing.
template <typename T>
struct Epilogue {
  FusedBlockPointers<T> block{};  // the parameters and buffers of the convolution and its norm
  const T* z = nullptr;           // [N, C, H, W], the convolution's output
  std::int64_t N = 0;
  int C = 0, H = 0, W = 0;
  bool relu_first = false, relu = false;

  NormPartition norm = NormPartition::none;
  int sets = 0, set_size = 0;  // of an image; for batch: C sets of H W
  bool training = true;        // batch: false takes the running statistics
  double eps = 0, momentum = 0;
  FusedStatistics<T>* moments = nullptr;     // batch, training: [N, C]
  FusedStatistics<T>* statistics = nullptr;  // [N, sets], for batch [C]

  FusedPool pool = FusedPool::none;
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

/// z[n,k,p,q] = sum over c,r,s of after.block.weight[k,c,r,s] x[n,c,p+r-pad,q+s-pad], filters R x R, R 1 or
/// 3; x is what `before` makes of its z, or `input` [N, C, H, W]. Also the moments or statistics of z that
/// `after` names. R 0: no convolution, z is x.
template <typename T>
struct FusedForwardArgs {
  T* z;
  Epilogue<T> after;
  const T* input;  // or null
  Epilogue<T> before;
  std::int64_t N;
  int C, H, W, K, R, pad;
};
namespace cuda {
template <typename T>
void fused_forward(const FusedForwardArgs<T>& args, Stream stream);
}

/// dy is the gradient of z, or null: then it is after.dz, or made from after.dnorm. Makes the gradient of the
/// filters of each image, [N, K, C, R, R], and takes the gradient of x through the epilogue `before`, or
/// stores it in dx. R 0: there are no filters, the gradient of x is dy.
template <typename T>
struct FusedBackwardArgs {
  T* weight_partials;
  T* dx;  // where nothing is before: the gradient of input, or null
  const T* dy;
  Epilogue<T> after;
  const T* input;
  Epilogue<T> before;
  std::int64_t N;
  int C, H, W, K, R, pad;
};
namespace cuda {
template <typename T>
void fused_backward(const FusedBackwardArgs<T>& args, Stream stream);
}

/// The gradient of a parameter as a sum over rows: out[d] = sum over m of rows[m * stride + d] f, d < D, with
/// f = 1, or where z is given f = xhat[m, d] of the norm of z, whose statistics are [M].
template <typename T>
struct FusedGradientSum {
  T* out;
  const T* rows;
  std::int64_t count, stride;
  int D;
  const T* z = nullptr;
  const FusedStatistics<T>* statistics = nullptr;
  bool relu_first = false;
};
/// The gradients of the parameters of all blocks, in one launch for every 32.
template <typename T>
struct FusedGradientSumsArgs {
  const FusedGradientSum<T>* sums;  // an array on the host
  int count;
};
namespace cuda {
template <typename T>
void fused_gradient_sums(const FusedGradientSumsArgs<T>& args, Stream stream);
}

namespace cuda {
/// True if both kernels of a convolution have room in the shared memory of a thread block of the current
/// device; only sizes are read.
template <typename T>
bool fused_block_fits(const FusedForwardArgs<T>& forward, const FusedBackwardArgs<T>& backward);
}  // namespace cuda

}  // namespace evenkeel
