#include "evenkeel/kernels/sgd.h"

#include <algorithm>

#include "evenkeel/kernels/cuda/simt.h"
#include "evenkeel/kernels/cuda/vector.cuh"

namespace evenkeel::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTensors = 96;  // a launch: with them a kernel's parameters stay below 4 KB

/// The tensors of one launch; tensor k has the blocks from first_block[k] to first_block[k + 1].
template <typename T>
struct SgdBatch {
  SgdTensor<T> tensors[kTensors];
  int first_block[kTensors + 1];
  int count;
  SgdRule rule;
  const double* lr_now;  // or null
};

/// All parameters in one launch: a block takes 256 elements of one tensor, found by bisection.
/// Bytes: 5 sizeof(T) an element with momentum (p, v, g read, p, v written), 3 without.
template <typename T>
__global__ void __launch_bounds__(kThreads) sgd_kernel(const __grid_constant__ SgdBatch<T> a) {
  int low = 0, high = a.count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (static_cast<int>(blockIdx.x) >= a.first_block[middle] ? low : high) = middle;
  }
  const SgdTensor<T>& t = a.tensors[low];
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x - a.first_block[low]) * kThreads + threadIdx.x;
  if (i >= t.n) return;
  SgdRule rule = a.rule;
  if (a.lr_now != nullptr) rule.lr = *a.lr_now;
  t.p[i] = SgdStep<T>(rule)(t.p[i], t.v != nullptr ? t.v + i : nullptr, t.g[i]);
}

}  // namespace

template <typename T>
void sgd_step(const SgdArgs<T>& a, Stream stream) {
  for (int first = 0; first < a.count; first += kTensors) {
    SgdBatch<T> batch{};
    batch.count = std::min(kTensors, a.count - first);
    std::int64_t blocks = 0;
    for (int k = 0; k < batch.count; ++k) {
      batch.tensors[k] = a.tensors[first + k];
      batch.first_block[k] = static_cast<int>(blocks);
      blocks += blocks_for(batch.tensors[k].n, kThreads);
      check_config("sgd_step", {blocks, kThreads});
    }
    batch.first_block[batch.count] = static_cast<int>(blocks);
    batch.rule = a.rule;
    batch.lr_now = a.lr_now;
    launch("sgd_step", sgd_kernel<T>, {blocks, kThreads, 0, stream}, batch);
  }
}

template void sgd_step(const SgdArgs<float>&, Stream);
template void sgd_step(const SgdArgs<double>&, Stream);

}  // namespace evenkeel::cuda
