#include "kernels/matmul.h"

#define EIGEN_DONT_PARALLELIZE  // Eigen's blocking, and with it the rounding, would depend on the number of
                                // threads
#include <Eigen/Core>

#include "kernels/cpu/parallel.h"

namespace evenkeel::cpu {
namespace {

using Strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
template <typename T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <typename T>
using ColMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;

/// Calls f with a view of a strided matrix in which the compiler knows that rows or columns are dense, if one
/// is.
template <typename T, typename F>
void with_view(const T* data, std::int64_t rows, std::int64_t cols, std::int64_t row_stride,
               std::int64_t col_stride, F f) {
  if (col_stride == 1) {
    f(Eigen::Map<const RowMajor<T>, 0, Eigen::OuterStride<>>(data, rows, cols,
                                                             Eigen::OuterStride<>(row_stride)));
  } else if (row_stride == 1) {
    f(Eigen::Map<const ColMajor<T>, 0, Eigen::OuterStride<>>(data, rows, cols,
                                                             Eigen::OuterStride<>(col_stride)));
  } else {
    const RowMajor<T> dense =
        Eigen::Map<const RowMajor<T>, 0, Strides>(data, rows, cols, Strides(row_stride, col_stride));
    f(Eigen::Map<const RowMajor<T>, 0, Eigen::OuterStride<>>(dense.data(), rows, cols,
                                                             Eigen::OuterStride<>(cols)));
  }
}

}  // namespace

template <typename T>
void matmul(const MatmulArgs<T>& g) {
  constexpr std::int64_t kRows = 64;  // a task: so many rows of one product
  const std::int64_t blocks = (g.M + kRows - 1) / kRows;
  parallel_for(g.batch * blocks, kRows * g.N * g.K, [&](std::int64_t task) {
    const std::int64_t i = task / blocks, row = task % blocks * kRows, rows = std::min(kRows, g.M - row);
    Eigen::Map<RowMajor<T>> c(g.c + (i * g.M + row) * g.N, rows, g.N);
    const T* a = g.a + i * g.a_stride_batch + row * g.a_stride_m;
    with_view(a, rows, g.K, g.a_stride_m, g.a_stride_k, [&](const auto& left) {
      with_view(g.b + i * g.b_stride_batch, g.K, g.N, g.b_stride_k, g.b_stride_n,
                [&](const auto& right) { c.noalias() = left * right; });
    });
  });
}

template void matmul(const MatmulArgs<float>&);
template void matmul(const MatmulArgs<double>&);

}  // namespace evenkeel::cpu
