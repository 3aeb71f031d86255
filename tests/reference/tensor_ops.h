// Broadcasting, views, reductions and matrix products, each as a map from positions to positions.
#pragma once

#include "reference/array.h"

namespace reference {

/// For each element of a result, in row-major order, the position of the element that it is.
using Map = std::vector<Index>;

Index numel(const Sizes& shape);
/// True if NumPy's rule lets the shapes broadcast; `shape` is then that of the result.
bool broadcast(const Sizes& a, const Sizes& b, Sizes& shape);

/// The elements of `from`, repeated to `shape`.
Map broadcast_map(const Sizes& from, const Sizes& shape);
/// Axis d of the result is axis axes[d] of `shape`.
Map permute_map(const Sizes& shape, const std::vector<int>& axes);
/// Elements start, start + step, ... (`count` of them) of one axis.
Map slice_map(const Sizes& shape, int axis, Index start, Index step, Index count);
/// For each element of an array of `shape`, the position that it is reduced to.
Map reduce_map(const Sizes& shape, const std::vector<bool>& reduced);
Sizes reduced_shape(const Sizes& shape, const std::vector<bool>& reduced, bool keepdim);

/// y[i] = x[map[i]], and its gradient dx[map[i]] += dy[i].
Array gather(const Array& x, const Map& map, const Sizes& shape);
Array scatter_add(const Array& dy, const Map& map, const Sizes& shape);

/// The largest of the elements that are reduced to one; NaN if there is one.
Array max_over(const Array& x, const Map& map, const Sizes& shape);
/// Equal maxima share dy.
Array max_over_backward(const Array& dy, const Array& x, const Map& map);
/// The number, along the axis, of the first largest element or the first NaN.
Array argmax(const Array& x, int axis);

/// [M,K]x[K,N], or [B,M,K]x[B,K,N].
Array matmul(const Array& a, const Array& b);
/// The last two axes exchanged.
Array transposed(const Array& x);

}  // namespace reference
