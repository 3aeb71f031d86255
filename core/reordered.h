// Element-wise ops on tensors whose elements lie in one order, be it the tensors' own or not (Reordered).
#pragma once

#include "evenkeel/core/tensor.h"

namespace evenkeel {

/// The elements of x as they were made, a 1-D tensor; undefined unless x is dense and all of a storage that
/// is Reordered.
Tensor reordered_elements(const Tensor& x);
/// The tensor of `shape` that has such elements, in the order of `like`.
Tensor in_order_of(const Tensor& like, Tensor elements, const Shape& shape);

/// The operands of an element-wise kernel, detached: `a`, and `b` if there is one, both views
/// of the shape that they broadcast to; y, without values yet, is dense and has that shape. Where the
/// elements of both lie Reordered in one way, or those of one do and the other has a single one, the three
/// are 1-D tensors of them, padding included.
struct InOneOrder {
  Tensor a, b, y;

  explicit InOneOrder(const Tensor& a);
  /// Throws Error, naming `op`, unless a and b share dtype and device and their shapes broadcast.
  InOneOrder(const char* op, const Tensor& a, const Tensor& b);
  /// y as the op returns it.
  Tensor result() const { return like_.defined() ? in_order_of(like_, y, like_.shape()) : y; }

 private:
  Tensor like_;  // defined if they are Reordered
};

}  // namespace evenkeel
