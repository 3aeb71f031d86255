#include "evenkeel/core/shape.h"

namespace evenkeel {

std::int64_t Shape::numel() const {
  std::int64_t product = 1;  // of the sizes other than 0
  bool has_zero = false;
  for (std::int64_t size : *this) {
    EK_CHECK(size >= 0, "{} is no shape: sizes are at least 0", str());
    has_zero |= size == 0;
    EK_CHECK(size == 0 || !__builtin_mul_overflow(product, size, &product), "shape {} has too many elements",
             str());
  }
  return has_zero ? 0 : product;
}

Shape contiguous_strides(const Shape& shape) {
  shape.numel();  // refuses what is no shape
  Shape strides(shape.rank(), 1);
  for (int i = shape.rank() - 2; i >= 0; --i) {
    strides[i] = strides[i + 1] * std::max<std::int64_t>(shape[i + 1], 1);
  }
  return strides;
}

Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape out(rank, 1);
  for (int i = 1; i <= rank; ++i) {
    const std::int64_t size_a = i <= a.rank() ? a[a.rank() - i] : 1;
    const std::int64_t size_b = i <= b.rank() ? b[b.rank() - i] : 1;
    EK_CHECK(size_a == size_b || size_a == 1 || size_b == 1, "{}: shapes {} and {} do not broadcast", op,
             a.str(), b.str());
    out[rank - i] = size_a == 1 ? size_b : size_a;
  }
  return out;
}

int normalize_axis(const char* op, int axis, int rank) {
  EK_CHECK(axis >= -rank && axis < rank, "{}: axis {} is out of range for a tensor with {} axes", op, axis,
           rank);
  return axis < 0 ? axis + rank : axis;
}

}  // namespace evenkeel
