// Shapes and strides: short lists of axis sizes, kept inside the object.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "evenkeel/base/error.h"
#include "evenkeel/kernels/common.h"

namespace evenkeel {

/// The sizes of a tensor's axes, outermost first. Also used for strides, in elements.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> sizes) {
    for (std::int64_t size : sizes) push_back(size);
  }
  Shape(int rank, std::int64_t fill) {
    for (int i = 0; i < rank; ++i) push_back(fill);
  }

  int rank() const { return extents_.rank; }
  bool empty() const { return rank() == 0; }
  /// Axis i; -1 is the last one. Throws Error if there is none.
  std::int64_t& operator[](int i) { return extents_.at[from_first(i)]; }
  std::int64_t operator[](int i) const { return extents_.at[from_first(i)]; }
  std::int64_t* begin() { return extents_.at; }
  std::int64_t* end() { return extents_.at + rank(); }
  const std::int64_t* begin() const { return extents_.at; }
  const std::int64_t* end() const { return extents_.at + rank(); }

  /// Appends an axis. Throws Error past kMaxRank.
  void push_back(std::int64_t size) {
    EK_CHECK(rank() < kMaxRank, "a tensor has at most {} axes", kMaxRank);
    extents_.at[extents_.rank++] = size;
  }

  /// The product of the sizes; 1 for no axes. Throws Error on a negative size, and if the product of the
  /// sizes other than 0 does not fit in 64 bits: neither is a shape.
  std::int64_t numel() const;

  const Extents& extents() const { return extents_; }
  /// "[2, 3]"
  std::string str() const { return fmt::format("[{}]", fmt::join(begin(), end(), ", ")); }

  friend bool operator==(const Shape& a, const Shape& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  int from_first(int i) const {
    EK_CHECK(-rank() <= i && i < rank(), "there is no axis {} in {}", i, str());
    return i < 0 ? i + rank() : i;
  }

  Extents extents_;
};

/// Strides of a dense row-major array of this shape; an axis of size 0 counts as one of size 1, as in
/// PyTorch. Throws Error as Shape::numel does.
Shape contiguous_strides(const Shape& shape);

/// NumPy's and PyTorch's rule. Throws Error, naming `op`, when the shapes do not broadcast.
Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b);

/// Maps an axis in [-rank, rank) to [0, rank). Throws Error, naming `op`, on anything else.
int normalize_axis(const char* op, int axis, int rank);

}  // namespace evenkeel
