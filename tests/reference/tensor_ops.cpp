#include "reference/tensor_ops.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace reference {
namespace {

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

/// Calls f(indices) for each element of an array of `shape`, in row-major order.
template <typename F>
void for_each_index(const Sizes& shape, const F& f) {
  Sizes index(shape.size(), 0);
  for (Index left = numel(shape); left > 0; --left) {
    f(index);
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
}

Index position(const Sizes& index, const Sizes& shape) {
  Index result = 0;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) result = result * shape[axis] + index[axis];
  return result;
}

/// NaN is larger than every number.
bool wins(double candidate, double best) {
  return candidate > best || (std::isnan(candidate) && !std::isnan(best));
}

}  // namespace

Index numel(const Sizes& shape) {
  Index n = 1;
  for (Index size : shape) n *= size;
  return n;
}

bool broadcast(const Sizes& a, const Sizes& b, Sizes& shape) {
  shape.assign(std::max(a.size(), b.size()), 1);
  for (std::size_t i = 1; i <= shape.size(); ++i) {
    const Index from_a = i <= a.size() ? a[a.size() - i] : 1, from_b = i <= b.size() ? b[b.size() - i] : 1;
    if (from_a != from_b && from_a != 1 && from_b != 1) return false;
    shape[shape.size() - i] = from_a == 1 ? from_b : from_a;
  }
  return true;
}

Map broadcast_map(const Sizes& from, const Sizes& shape) {
  Map map;
  for_each_index(shape, [&](const Sizes& index) {
    Sizes source(from.size());
    for (std::size_t axis = 0; axis < from.size(); ++axis)
      source[axis] = from[axis] == 1 ? 0 : index[axis + shape.size() - from.size()];
    map.push_back(position(source, from));
  });
  return map;
}

Map permute_map(const Sizes& shape, const std::vector<int>& axes) {
  Sizes result(shape.size());
  for (std::size_t d = 0; d < axes.size(); ++d) result[d] = shape[static_cast<std::size_t>(axes[d])];
  Map map;
  for_each_index(result, [&](const Sizes& index) {
    Sizes source(shape.size());
    for (std::size_t d = 0; d < axes.size(); ++d) source[static_cast<std::size_t>(axes[d])] = index[d];
    map.push_back(position(source, shape));
  });
  return map;
}

Map slice_map(const Sizes& shape, int axis, Index start, Index step, Index count) {
  Sizes result = shape;
  result[static_cast<std::size_t>(axis)] = count;
  Map map;
  for_each_index(result, [&](Sizes index) {
    Index& i = index[static_cast<std::size_t>(axis)];
    i = start + i * step;
    map.push_back(position(index, shape));
  });
  return map;
}

Map reduce_map(const Sizes& shape, const std::vector<bool>& reduced) {
  const Sizes kept = reduced_shape(shape, reduced, true);
  Map map;
  for_each_index(shape, [&](Sizes index) {
    for (std::size_t axis = 0; axis < index.size(); ++axis)
      if (reduced[axis]) index[axis] = 0;
    map.push_back(position(index, kept));
  });
  return map;
}

Sizes reduced_shape(const Sizes& shape, const std::vector<bool>& reduced, bool keepdim) {
  Sizes result;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    if (!reduced[axis]) result.push_back(shape[axis]);
    if (reduced[axis] && keepdim) result.push_back(1);
  }
  return result;
}

Array gather(const Array& x, const Map& map, const Sizes& shape) {
  Array y(shape);
  for (Index i = 0; i < y.numel(); ++i) y.values[i] = x.values[map[at(i)]];
  return y;
}

Array scatter_add(const Array& dy, const Map& map, const Sizes& shape) {
  Array dx(shape);
  for (Index i = 0; i < dy.numel(); ++i) dx.values[map[at(i)]] += dy.values[i];
  return dx;
}

Array max_over(const Array& x, const Map& map, const Sizes& shape) {
  Array y(shape, -std::numeric_limits<double>::infinity());
  for (Index i = 0; i < x.numel(); ++i) {
    double& best = y.values[map[at(i)]];
    if (wins(x.values[i], best)) best = x.values[i];
  }
  return y;
}

Array max_over_backward(const Array& dy, const Array& x, const Map& map) {
  const Array y = max_over(x, map, dy.shape);
  Array dx(x.shape), count(dy.shape);
  for (Index i = 0; i < x.numel(); ++i) count.values[map[at(i)]] += x.values[i] == y.values[map[at(i)]];
  for (Index i = 0; i < x.numel(); ++i) {
    const Index j = map[at(i)];
    dx.values[i] = dy.values[j] * (x.values[i] == y.values[j]) / count.values[j];
  }
  return dx;
}

Array argmax(const Array& x, int axis) {
  std::vector<bool> reduced(x.shape.size());
  reduced[static_cast<std::size_t>(axis)] = true;
  const Sizes shape = reduced_shape(x.shape, reduced, false);
  const Map map = reduce_map(x.shape, reduced);
  Array best(shape), index(shape, -1), seen(shape);
  for (Index i = 0; i < x.numel(); ++i) {  // along the axis, elements of one set come in order
    const Index j = map[at(i)];
    if (index.values[j] < 0 || wins(x.values[i], best.values[j])) {
      best.values[j] = x.values[i];
      index.values[j] = seen.values[j];
    }
    seen.values[j] += 1;
  }
  return index;
}

Array matmul(const Array& a, const Array& b) {
  const bool batched = a.shape.size() == 3;
  const Index B = batched ? a.size(0) : 1, M = a.size(batched), K = a.size(batched + 1),
              N = b.size(batched + 1);
  Array c(batched ? Sizes{B, M, N} : Sizes{M, N});
  for (Index i = 0; i < B; ++i)
    for (Index m = 0; m < M; ++m)
      for (Index n = 0; n < N; ++n)
        for (Index k = 0; k < K; ++k)
          c.values[(i * M + m) * N + n] += a.values[(i * M + m) * K + k] * b.values[(i * K + k) * N + n];
  return c;
}

Array transposed(const Array& x) {
  std::vector<int> axes(x.shape.size());
  for (std::size_t d = 0; d < axes.size(); ++d) axes[d] = static_cast<int>(d);
  std::swap(axes[axes.size() - 1], axes[axes.size() - 2]);
  Sizes shape = x.shape;
  std::swap(shape[shape.size() - 1], shape[shape.size() - 2]);
  return gather(x, permute_map(x.shape, axes), shape);
}

}  // namespace reference
