// Matrix product, with strides so that a transpose costs nothing.
#pragma once

#include "evenkeel/kernels/common.h"

namespace evenkeel {

/// c[i][m][n] = sum over k of a[i][m][k] * b[i][k][n], c dense [batch, M, N].
template <typename T>
struct MatmulArgs {
  T* c;
  const T* a;
  const T* b;
  std::int64_t a_stride_batch, a_stride_m, a_stride_k;
  std::int64_t b_stride_batch, b_stride_k, b_stride_n;
  std::int64_t batch, M, N, K;
};
EK_DECLARE_CPU_VECTOR_KERNEL(matmul, MatmulArgs)
namespace cuda {
template <typename T>
void matmul(const MatmulArgs<T>& args, Stream stream);
}

}  // namespace evenkeel
