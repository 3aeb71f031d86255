#include "evenkeel/kernels/softmax.h"

#include "evenkeel/kernels/cuda/softmax.cuh"
#include "evenkeel/kernels/cuda/vector.cuh"

namespace evenkeel::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

/// The row of this warp, or M if there is none.
__device__ __forceinline__ std::int64_t row_of_warp() {
  return static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
}

/// y [M, D]: a warp a row. Bytes: 2 M D sizeof(T); the second and third reading of a row come from the cache.
template <typename T>
__global__ void __launch_bounds__(kThreads) log_softmax_forward_kernel(LogSoftmaxForwardArgs<T> a) {
  const std::int64_t m = row_of_warp();
  if (m >= a.M) return;
  const T* x = a.x + m * a.D;
  const RowLogSoftmax<T> row(x, a.D);
  for (std::int64_t d = threadIdx.x % 32; d < a.D; d += 32) a.y[m * a.D + d] = row.at(x[d]);
}

/// dx [M, D] = dy - exp(y) sum(dy): a warp a row. Bytes: 3 M D sizeof(T); dy is read again from the cache.
template <typename T>
__global__ void __launch_bounds__(kThreads) log_softmax_backward_kernel(LogSoftmaxBackwardArgs<T> a) {
  const std::int64_t m = row_of_warp();
  if (m >= a.M) return;
  const T *dy = a.dy + m * a.D, *y = a.y + m * a.D;
  double sum = 0;
  for (std::int64_t d = threadIdx.x % 32; d < a.D; d += 32) sum += static_cast<double>(dy[d]);
  const T total = static_cast<T>(lane_sum(sum));
  for (std::int64_t d = threadIdx.x % 32; d < a.D; d += 32)
    a.dx[m * a.D + d] = dy[d] - std::exp(y[d]) * total;
}

/// loss[m] = -x[m, target[m]], NaN where the target is no column. Bytes: M (8 + 2 sizeof(T)).
template <typename T>
__global__ void __launch_bounds__(kThreads) nll_loss_forward_kernel(NllLossForwardArgs<T> a) {
  const std::int64_t m = thread_number();
  if (m >= a.M) return;
  const std::int64_t target = a.target[m];
  a.loss[m] = target >= 0 && target < a.D ? -a.x[m * a.D + target] : static_cast<T>(NAN);
}

/// A block for all rows: a batch is small, and a second kernel would cost more. Bytes: M (8 + sizeof(T)).
template <typename T>
__global__ void __launch_bounds__(kThreads) nll_loss_sum_kernel(NllLossSumArgs<T> a) {
  T sum = 0;
  for (std::int64_t m = threadIdx.x; m < a.M; m += kThreads) {
    const std::int64_t target = a.target[m];
    sum += target >= 0 && target < a.D ? -a.x[m * a.D + target] : static_cast<T>(NAN);
  }
  block_sum(sum);
  if (threadIdx.x == 0) *a.loss = static_cast<T>(a.scale) * sum;
}

/// dx [M, D]: -scale dloss at target[m], 0 elsewhere. Bytes: M (D sizeof(T) + 8 + sizeof(T)).
template <typename T>
__global__ void __launch_bounds__(kThreads) nll_loss_backward_kernel(NllLossBackwardArgs<T> a) {
  const std::int64_t i = thread_number();
  if (i >= a.M * a.D) return;
  const std::int64_t m = i / a.D;
  a.dx[i] = i % a.D == a.target[m] ? -a.dloss[m * a.dloss_stride] * static_cast<T>(a.scale) : T(0);
}

/// A block for all rows. Bytes: M (D sizeof(T) + 8).
template <typename T>
__global__ void __launch_bounds__(kThreads) classification_totals_kernel(ClassificationTotalsArgs<T> a) {
  double correct = 0;
  for (std::int64_t m = threadIdx.x; m < a.M; m += kThreads) {
    correct += largest_of_row(a.x + m * a.D, a.D) == a.target[m] ? 1 : 0;
  }
  block_sum(correct);
  if (threadIdx.x != 0) return;
  a.totals[0] += static_cast<double>(a.M) * static_cast<double>(*a.mean_loss);
  a.totals[1] += correct;
}

}  // namespace

template <typename T>
void log_softmax_forward(const LogSoftmaxForwardArgs<T>& a, Stream stream) {
  launch("log_softmax_forward", log_softmax_forward_kernel<T>, {blocks_for(a.M, kWarps), kThreads, 0, stream},
         a);
}

template <typename T>
void log_softmax_backward(const LogSoftmaxBackwardArgs<T>& a, Stream stream) {
  launch("log_softmax_backward", log_softmax_backward_kernel<T>,
         {blocks_for(a.M, kWarps), kThreads, 0, stream}, a);
}

template <typename T>
void nll_loss_forward(const NllLossForwardArgs<T>& a, Stream stream) {
  launch("nll_loss_forward", nll_loss_forward_kernel<T>, {blocks_for(a.M, kThreads), kThreads, 0, stream}, a);
}

template <typename T>
void nll_loss_backward(const NllLossBackwardArgs<T>& a, Stream stream) {
  launch("nll_loss_backward", nll_loss_backward_kernel<T>,
         {blocks_for(a.M * a.D, kThreads), kThreads, 0, stream}, a);
}

template <typename T>
void nll_loss_sum(const NllLossSumArgs<T>& a, Stream stream) {
  launch("nll_loss_sum", nll_loss_sum_kernel<T>, {1, kThreads, 0, stream}, a);
}

template <typename T>
void classification_totals(const ClassificationTotalsArgs<T>& a, Stream stream) {
  launch("classification_totals", classification_totals_kernel<T>, {1, kThreads, 0, stream}, a);
}

#define EK_INSTANTIATE(T)                                                          \
  template void nll_loss_sum(const NllLossSumArgs<T>&, Stream);                    \
  template void classification_totals(const ClassificationTotalsArgs<T>&, Stream); \
  template void log_softmax_forward(const LogSoftmaxForwardArgs<T>&, Stream);      \
  template void log_softmax_backward(const LogSoftmaxBackwardArgs<T>&, Stream);    \
  template void nll_loss_forward(const NllLossForwardArgs<T>&, Stream);            \
  template void nll_loss_backward(const NllLossBackwardArgs<T>&, Stream);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cuda
