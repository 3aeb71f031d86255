// What the functions of this folder share.
#pragma once

#include "core/autograd.h"
#include "nn/functional.h"

namespace evenkeel::functional {

using autograd::record;
using autograd::Saved;

/// Makes undefined an output that nobody wants.
inline Tensor empty_if(bool wanted, const Shape& shape, TensorOptions options) {
  return wanted ? empty(shape, options) : Tensor();
}

template <typename T>
const T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}
template <typename T>
T* mutable_data_or_null(Tensor& x) {
  return x.defined() ? x.mutable_data<T>() : nullptr;
}

inline bool wants_grad(const Tensor& x) { return x.defined() && x.requires_grad(); }

/// The detached, dense form in which kernels read an optional tensor.
inline Tensor dense(const Tensor& x) { return x.defined() ? x.detach().contiguous() : Tensor(); }

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
