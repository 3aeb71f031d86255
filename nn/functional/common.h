// What the functions of this folder share.
#pragma once

#include <limits>
#include <vector>

#include "evenkeel/core/autograd.h"
#include "evenkeel/core/overlap.h"
#include "evenkeel/nn/functional.h"

namespace evenkeel::functional {

using autograd::record;
using autograd::Saved;

/// Makes undefined an output that nobody wants.
inline Tensor empty_if(bool wanted, const Shape& shape, TensorOptions options) {
  return wanted ? empty(shape, options) : Tensor();
}

/// The options of the parameters and statistics that go with x.
inline TensorOptions parameters_of(const Tensor& x) { return {arithmetic_of(x.dtype()), x.device()}; }

/// The first element; null for an undefined tensor.
template <typename T>
const T* in(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}
/// The first element of a tensor that a kernel writes; null for an undefined tensor. Throws Error unless x is
/// dense. What a user passes goes through DenseTarget (core/overlap.h) before.
template <typename T>
T* out(Tensor& x) {
  if (!x.defined()) return nullptr;
  check_dense_target("out", x);
  return x.mutable_data<T>();
}

inline bool wants_grad(const Tensor& x) { return x.defined() && x.requires_grad(); }

/// The detached, dense form in which kernels read an optional tensor.
inline Tensor dense(const Tensor& x) { return x.defined() ? x.detach().contiguous() : Tensor(); }

/// NaN in the shape of a reduction of x, which has nothing along `axes`.
inline Tensor mean_of_nothing(const Tensor& x, const std::vector<int>& axes = {}, bool keepdim = false) {
  return sum(x, axes, keepdim) * std::numeric_limits<double>::quiet_NaN();
}

/// Throws unless all of `index` is in [0, limit). Skipped on a GPU, where reading it would wait for the
/// device.
inline void check_range(const char* op, const Tensor& index, std::int64_t limit) {
  if (!index.device().is_cpu()) return;
  const std::int64_t* value = index.data<std::int64_t>();
  for (std::int64_t i = 0; i < index.numel(); ++i) {
    EK_CHECK(value[i] >= 0 && value[i] < limit, "{}: index {} at position {} is out of range [0, {})", op,
             value[i], i, limit);
  }
}

}  // namespace evenkeel::functional
