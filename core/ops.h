// Differentiable element-wise arithmetic, reductions and matrix product. f32 and f64; add also bf16 and f16
// on CUDA devices; equal, max and argmax also integers.
#pragma once

#include <vector>

#include "evenkeel/core/tensor.h"

namespace evenkeel {

// Element-wise, broadcasting as NumPy and PyTorch do.

Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);
inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }

/// A tensor without axes, of the dtype and device of `like`.
Tensor scalar_like(double value, const Tensor& like);
inline Tensor operator+(const Tensor& a, double b) { return add(a, scalar_like(b, a)); }
inline Tensor operator-(const Tensor& a, double b) { return sub(a, scalar_like(b, a)); }
inline Tensor operator*(const Tensor& a, double b) { return mul(a, scalar_like(b, a)); }
inline Tensor operator/(const Tensor& a, double b) { return div(a, scalar_like(b, a)); }
inline Tensor operator+(double a, const Tensor& b) { return add(scalar_like(a, b), b); }
inline Tensor operator-(double a, const Tensor& b) { return sub(scalar_like(a, b), b); }
inline Tensor operator*(double a, const Tensor& b) { return mul(scalar_like(a, b), b); }
inline Tensor operator/(double a, const Tensor& b) { return div(scalar_like(a, b), b); }
inline Tensor operator-(const Tensor& a) { return a * -1.0; }

Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);
Tensor sqrt(const Tensor& x);
/// |x|; the gradient at 0 is 0.
Tensor abs(const Tensor& x);
/// -1, 0 or 1. The gradient is 0 everywhere.
Tensor sign(const Tensor& x);
/// 1 where a equals b, else 0. Also of integers, whose dtypes may differ. The result has the dtype of a, or
/// f32 where a and b are integers, so that mean(equal(argmax(logits, 1), target)) is an accuracy. Has no
/// backward.
Tensor equal(const Tensor& a, const Tensor& b);

// Reductions over `axes` (all of them if empty). With keepdim the reduced axes stay, with size 1.

/// Sums in double precision, in a fixed order.
Tensor sum(const Tensor& x, const std::vector<int>& axes = {}, bool keepdim = false);
Tensor mean(const Tensor& x, const std::vector<int>& axes = {}, bool keepdim = false);
/// The largest element; NaN if there is one. Also of integers. Equal maxima share the gradient, as torch.amax
/// does.
Tensor max(const Tensor& x, const std::vector<int>& axes = {}, bool keepdim = false);
/// The index (i64) of the first largest element along one axis. Also of integers. Has no backward.
Tensor argmax(const Tensor& x, int axis);

/// Matrix product: [M,K]x[K,N], or a batch of them [B,M,K]x[B,K,N].
Tensor matmul(const Tensor& a, const Tensor& b);

/// The gradient of a broadcast: sums x over the axes along which `shape` was repeated to x's shape.
Tensor sum_to(const Tensor& x, const Shape& shape);

}  // namespace evenkeel
