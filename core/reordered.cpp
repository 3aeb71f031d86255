#include "evenkeel/core/reordered.h"

namespace evenkeel {

Tensor reordered_elements(const Tensor& x) {
  const Storage& storage = x.storage();
  if (storage.reordered() == nullptr || !x.is_contiguous() ||
      x.numel() * size_of(x.dtype()) != storage.bytes())
    return {};
  const Reordered& r = *storage.reordered();
  return {r.elements, 0, {r.count}, {1}, x.dtype()};
}

Tensor in_order_of(const Tensor& like, Tensor elements, const Shape& shape) {
  Reordered r = *like.storage().reordered();
  r.elements = elements.storage();
  return {Storage(shape.numel() * size_of(like.dtype()), std::make_shared<const Reordered>(std::move(r))), 0,
          shape, contiguous_strides(shape), like.dtype()};
}

InOneOrder::InOneOrder(const Tensor& x) : a(x.detach()) {
  if (const Tensor elements = reordered_elements(a); elements.defined()) {
    like_ = a;
    a = elements;
  }
  y = empty(a.shape(), a.options());
}

InOneOrder::InOneOrder(const char* op, const Tensor& left, const Tensor& right) {
  check_same_kind(op, {&left, &right});
  a = left.detach();
  b = right.detach();
  Shape shape = broadcast_shapes(op, a.shape(), b.shape());
  const Tensor of_a = reordered_elements(a), of_b = reordered_elements(b);
  const auto same = [&] {
    const Reordered &ra = *a.storage().reordered(), &rb = *b.storage().reordered();
    return ra.order == rb.order && ra.write == rb.write && a.shape() == b.shape();
  };
  const auto take = [&](const Tensor& like, const Tensor& elements) {
    like_ = like;
    shape = elements.shape();
  };
  if (of_a.defined() && of_b.defined() && same()) {
    take(a, of_a);
    a = of_a;
    b = of_b;
  } else if (of_a.defined() && b.numel() == 1 && shape == a.shape()) {
    take(a, of_a);
    a = of_a;
    b = b.reshape({});
  } else if (of_b.defined() && a.numel() == 1 && shape == b.shape()) {
    take(b, of_b);
    b = of_b;
    a = a.reshape({});
  }
  a = a.broadcast_to(shape);
  b = b.broadcast_to(shape);
  y = empty(shape, a.options());
}

}  // namespace evenkeel
