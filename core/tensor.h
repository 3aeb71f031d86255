// Tensor: a strided view of a Storage, with what autograd knows about it.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <vector>

#include "evenkeel/core/device.h"
#include "evenkeel/core/dtype.h"
#include "evenkeel/core/shape.h"
#include "evenkeel/core/storage.h"

namespace evenkeel {

namespace autograd {
struct Variable;
}

/// The dtype and device of the tensor that a factory makes.
struct TensorOptions {
  DType dtype = DType::f32;
  Device device = Device::cpu();
};

/// An n-dimensional array. A handle: copies are shallow and share data and gradient; clone() is deep.
/// Wrong shapes, dtypes and devices throw Error with one sentence that names the op and the shapes.
class Tensor {
 public:
  /// A tensor that is not there; defined() is false.
  Tensor() = default;
  /// A view of `storage`. `offset` and `strides` count elements. Throws Error on a negative stride or offset,
  /// and unless all elements lie in the storage.
  Tensor(Storage storage, std::int64_t offset, const Shape& shape, const Shape& strides, DType dtype);

  bool defined() const { return impl_ != nullptr; }
  const Shape& shape() const { return impl().shape; }
  const Shape& strides() const { return impl().strides; }
  int rank() const { return shape().rank(); }
  /// The size of an axis; negative axes count from the end.
  std::int64_t size(int axis) const { return shape()[normalize_axis("size", axis, rank())]; }
  std::int64_t numel() const { return shape().numel(); }
  DType dtype() const { return impl().dtype; }
  Device device() const { return storage().device(); }
  TensorOptions options() const { return {dtype(), device()}; }
  const Storage& storage() const { return impl().storage; }
  std::int64_t offset() const { return impl().offset; }
  /// True if dense and row-major; a tensor without elements always is.
  bool is_contiguous() const;
  /// True if both are handles of one tensor, not merely views of the same memory.
  bool is_same(const Tensor& other) const { return impl_ == other.impl_; }
  /// True if no other handle and no view shares the memory, so that a change in place shows nowhere else.
  bool exclusive() const { return impl_.use_count() == 1 && !storage().shared(); }

  /// The first element. Throws Error unless T is the dtype. Device
  /// memory for a CUDA tensor.
  template <typename T>
  const T* data() const {
    return static_cast<const T*>(raw_data(kDTypeOf<T>));
  }
  /// The first element, to write through; counts as a change in place. Throws Error where data() does, and if
  /// two elements share a place in memory, as those of broadcast views do.
  template <typename T>
  T* mutable_data() {
    return static_cast<T*>(raw_mutable_data(kDTypeOf<T>));
  }
  /// The only element, converted to double. Waits for the device. Throws Error unless numel() is 1.
  double item() const;
  /// All elements in row-major order, converted to T. Waits for the device.
  template <typename T>
  std::vector<T> to_vector() const;

  // Views: they share memory, and gradients flow through them.

  /// The same elements in another shape; one size may be -1. Copies only if the strides do not allow a view.
  Tensor reshape(Shape shape) const;
  Tensor transpose(int axis0, int axis1) const;
  Tensor permute(const std::vector<int>& axes) const;
  /// Elements start, start+step, ... below end of one axis. Negative bounds count from the end.
  Tensor slice(int axis, std::int64_t start, std::int64_t end, std::int64_t step = 1) const;
  /// A view with axes of size 1 repeated (stride 0) to `shape`.
  Tensor broadcast_to(const Shape& shape) const;

  // Copies; gradients flow through them.

  /// This tensor if it is dense and row-major, else a copy that is.
  Tensor contiguous() const;
  Tensor clone() const;
  Tensor to(Device device) const;
  /// Rounds to nearest, ties to even; to 16 bits from f64 and integers by way of f32.
  Tensor to(DType dtype) const;

  // Changes in place: not recorded, so refused unless under NoGrad where this tensor or the source requires a
  // gradient. They write through any view and throw Error, before anything is written, if two elements of
  // this tensor share a place in memory; their source may share memory with it, and counts as read in full
  // before.

  /// Throws Error if the dtype is an integer that cannot hold the value.
  Tensor& fill_(double value);
  Tensor& zero_() { return fill_(0); }
  /// Converts and broadcasts `source` into this tensor.
  Tensor& copy_(const Tensor& source);
  /// this += alpha * other, which broadcasts. Throws Error if this is an integer tensor and alpha is not
  /// whole.
  Tensor& add_(const Tensor& other, double alpha = 1);
  /// Makes every handle of this tensor refer to the data of `other`; autograd state and handles stay. Throws
  /// Error if this is the result of an op, whose backward counts on its data, or is to have a gradient and
  /// `other` is of integers.
  void set_data(const Tensor& other);

  // Autograd

  bool requires_grad() const;
  /// Makes this a leaf that collects a gradient (or stops it: what it has collected stays). Throws Error if
  /// integers are to collect one, or the result of an op is to stop.
  Tensor& requires_grad_(bool value = true);
  /// The gradient collected so far; undefined if there is none.
  Tensor grad() const;
  void zero_grad();
  /// Adds d(this)/d(leaf) to the grad of every leaf. `gradient` may be left out for one element, where it
  /// is 1.
  void backward(const Tensor& gradient = {}) const;
  /// The same data, without history.
  Tensor detach() const;

  const std::shared_ptr<autograd::Variable>& variable() const { return impl().variable; }
  void set_variable(std::shared_ptr<autograd::Variable> variable) { impl().variable = std::move(variable); }

 private:
  struct Impl {
    Storage storage;
    std::int64_t offset;
    Shape shape, strides;
    DType dtype;
    std::shared_ptr<autograd::Variable> variable;  // null: no gradient was ever wanted
  };
  Impl& impl() const {
    EK_CHECK(impl_ != nullptr, "an undefined tensor was used; give it a value first");
    return *impl_;
  }
  const void* raw_data(DType dtype) const;
  void* raw_mutable_data(DType dtype) const;
  Tensor view(const Shape& shape, const Shape& strides, std::int64_t offset) const;
  void check_in_place(const char* op, const Tensor* source = nullptr) const;

  std::shared_ptr<Impl> impl_;
};

// Factories

/// Uninitialised memory.
Tensor empty(const Shape& shape, TensorOptions options = {});
Tensor full(const Shape& shape, double value, TensorOptions options = {});
Tensor zeros(const Shape& shape, TensorOptions options = {});
Tensor ones(const Shape& shape, TensorOptions options = {});
/// start, start+1, ... below end.
Tensor arange(std::int64_t start, std::int64_t end, TensorOptions options = {DType::i64});
/// Uninitialised memory with the shape, dtype and device of x.
Tensor empty_like(const Tensor& x);
Tensor zeros_like(const Tensor& x);
/// Copies values on the host to a tensor of dtype T. Throws Error unless their number fits the shape.
template <typename T>
Tensor from_vector(const std::vector<T>& values, const Shape& shape, Device device = Device::cpu());
/// A 1-D f32 tensor of the values.
Tensor tensor(const std::vector<float>& values);

/// Prints as PyTorch does: nested brackets, long axes shortened, dtype and device where not the default.
std::ostream& operator<<(std::ostream& out, const Tensor& x);

/// Throws Error, naming `op`, unless all `required` tensors are defined and share device and dtype with each
/// other and with those of the `optional` ones that are defined.
void check_same_kind(const char* op, std::initializer_list<const Tensor*> required,
                     std::initializer_list<const Tensor*> optional = {});
/// Throws Error, naming `op`, unless x and the `required` of its parameters are defined, and all that are lie
/// on its device and have dtype arithmetic_of(x.dtype()).
void check_parameters(const char* op, const Tensor& x, std::initializer_list<const Tensor*> required,
                      std::initializer_list<const Tensor*> optional = {});

}  // namespace evenkeel
