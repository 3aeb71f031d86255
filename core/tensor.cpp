#include "evenkeel/core/tensor.h"
#include "evenkeel/core/dispatch.h"

#include <cmath>
#include <numeric>

#include "evenkeel/base/checked.h"
#include "evenkeel/core/autograd.h"
#include "evenkeel/core/cuda.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/core/overlap.h"
#include "evenkeel/kernels/elementwise.h"

namespace evenkeel {
namespace {

/// y = x, converting; both already have the same shape. The kernel behind every copy.
void copy_elements(const Tensor& y, const Tensor& x) {
  dispatch_any(y.dtype(), [&]<typename To>() {
    dispatch_any(x.dtype(), [&]<typename From>() {
      Tensor target = y;
      const CopyArgs<To, From> args{.y = target.mutable_data<To>(),
                                    .x = x.data<From>(),
                                    .shape = y.shape().extents(),
                                    .y_strides = y.strides().extents(),
                                    .x_strides = x.strides().extents()};
      run_kernel<cpu::copy<To, From>, cuda::copy<To, From>>("copy", y.device(), args);
    });
  });
}

/// y = x, both dense with the same shape and dtype, on different devices. Waits where the host takes part.
void copy_between_devices([[maybe_unused]] Tensor& y, [[maybe_unused]] const Tensor& x) {
  if constexpr (kCudaEnabled) {
    const std::int64_t bytes = x.numel() * size_of(x.dtype());
    std::byte* to = y.storage().data();
    const std::byte* from = x.storage().data() + x.offset() * size_of(x.dtype());
    if (x.device().is_cpu()) {
      cuda::copy_to_device(to, from, bytes, y.device().index);
    } else if (y.device().is_cpu()) {
      cuda::copy_to_host(to, from, bytes, x.device().index);
      synchronize(x.device());
    } else {
      synchronize(x.device());
      cuda::copy_on_device(to, from, bytes, y.device().index);
    }
  }
}

/// Strides that show the elements of a tensor in another shape without moving them, or no axes if there are
/// none. Each run of old axes that is dense in memory can be cut into new axes.
bool strides_for_view(const Shape& old_shape, const Shape& old_strides, const Shape& shape, Shape& strides) {
  Extents sizes = old_shape.extents(), steps = old_strides.extents();
  strides = Shape(shape.rank(), 1);
  int old_axis = sizes.rank - 1, new_axis = shape.rank() - 1;
  while (old_axis >= 0 && new_axis >= 0) {
    std::int64_t run = sizes.at[old_axis];
    const std::int64_t step = steps.at[old_axis];
    while (old_axis > 0 && (sizes.at[old_axis - 1] == 1 || steps.at[old_axis - 1] == run * step)) {
      run *= sizes.at[--old_axis];
    }
    std::int64_t covered = 1;
    while (new_axis >= 0 && covered * shape[new_axis] <= run) {
      strides[new_axis] = covered * step;
      covered *= shape[new_axis--];
    }
    if (covered != run) return false;
    --old_axis;
  }
  return true;
}

}  // namespace

Tensor::Tensor(Storage storage, std::int64_t offset, const Shape& shape, const Shape& strides, DType dtype)
    : impl_(std::make_shared<Impl>(Impl{std::move(storage), offset, shape, strides, dtype, nullptr})) {
  EK_CHECK(impl_->storage.defined() && strides.rank() == shape.rank(),
           "a tensor of shape {} needs a storage and as many strides, not {}", shape.str(), strides.str());
  if (shape.numel() == 0) {
    impl_->offset = 0;
    return;
  }
  // One past the last element.
  std::int64_t end = 1;
  bool is_inside = offset >= 0 && !__builtin_add_overflow(end, offset, &end);
  for (int d = 0; d < shape.rank(); ++d) {
    std::int64_t reach = 0;
    is_inside = is_inside && strides[d] >= 0 && !__builtin_mul_overflow(shape[d] - 1, strides[d], &reach) &&
                !__builtin_add_overflow(end, reach, &end);
  }
  EK_CHECK(is_inside && end <= impl_->storage.bytes() / size_of(dtype),
           "a tensor {} {} with strides {} and offset {} does not lie in its storage of {} bytes",
           name_of(dtype), shape.str(), strides.str(), offset, impl_->storage.bytes());
}

bool Tensor::is_contiguous() const {
  if (numel() == 0) return true;
  std::int64_t expected = 1;
  for (int d = rank() - 1; d >= 0; --d) {
    if (shape()[d] != 1 && strides()[d] != expected) return false;
    expected *= shape()[d];
  }
  return true;
}

const void* Tensor::raw_data(DType dtype) const {
  EK_CHECK(this->dtype() == dtype, "data: a {} tensor was read as {}", name_of(this->dtype()),
           name_of(dtype));
  return storage().data() + offset() * size_of(dtype);
}

void* Tensor::raw_mutable_data(DType dtype) const {
  const void* data = raw_data(dtype);
  check_no_overlap("mutable_data", *this);
  storage().bump_version();
  return const_cast<void*>(data);
}

double Tensor::item() const {
  EK_CHECK(numel() == 1, "item: the tensor has {} elements, shape {}; it needs exactly one", numel(),
           shape().str());
  return to_vector<double>()[0];
}

template <typename T>
std::vector<T> Tensor::to_vector() const {
  const NoGrad guard;
  const Tensor host = to(Device::cpu()).to(kDTypeOf<T>).contiguous();
  return {host.data<T>(), host.data<T>() + numel()};
}

// --- views
// ---------------------------------------------------------------------------------------------------------

Tensor Tensor::view(const Shape& shape, const Shape& strides, std::int64_t offset) const {
  return {storage(), offset, shape, strides, dtype()};
}

Tensor Tensor::reshape(Shape shape) const {
  int inferred = -1;
  for (int d = 0; d < shape.rank(); ++d) {
    EK_CHECK(shape[d] >= 0 || (shape[d] == -1 && inferred < 0),
             "reshape: {} is no shape; only one size may be -1", shape.str());
    if (shape[d] == -1) inferred = d;
  }
  if (inferred >= 0) {
    Shape known = shape;
    known[inferred] = 1;
    EK_CHECK(known.numel() > 0, "reshape: -1 stands for any size in {}, as another size is 0", shape.str());
    shape[inferred] = numel() / known.numel();
  }
  EK_CHECK(shape.numel() == numel(), "reshape: {} elements of shape {} do not fit {}", numel(),
           this->shape().str(), shape.str());
  Shape new_strides = contiguous_strides(shape);
  if (!is_contiguous() && !strides_for_view(this->shape(), strides(), shape, new_strides)) {
    return contiguous().reshape(shape);
  }
  Tensor y(storage(), offset(), shape, new_strides, dtype());
  autograd::record("reshape", y, {this},
                   [old = this->shape()](const Tensor& dy) { return std::vector{dy.reshape(old)}; });
  return y;
}

Tensor Tensor::permute(const std::vector<int>& axes) const {
  EK_CHECK(static_cast<int>(axes.size()) == rank(), "permute: {} axes given for shape {}", axes.size(),
           shape().str());
  Shape new_shape(rank(), -1), new_strides(rank(), 0);
  std::vector<int> inverse(axes.size());
  std::vector<bool> used(axes.size());
  for (int d = 0; d < rank(); ++d) {
    const int axis = normalize_axis("permute", axes[d], rank());
    EK_CHECK(!used[axis], "permute: axis {} is named twice", axis);
    used[axis] = true;
    new_shape[d] = shape()[axis];
    new_strides[d] = strides()[axis];
    inverse[axis] = d;
  }
  Tensor y = view(new_shape, new_strides, offset());
  autograd::record("permute", y, {this},
                   [inverse](const Tensor& dy) { return std::vector{dy.permute(inverse)}; });
  return y;
}

Tensor Tensor::transpose(int axis0, int axis1) const {
  const int axes_at_least = std::max(rank(), 1);  // a number has an axis 0 to name, as in PyTorch
  axis0 = normalize_axis("transpose", axis0, axes_at_least);
  axis1 = normalize_axis("transpose", axis1, axes_at_least);
  std::vector<int> axes(rank());
  for (int d = 0; d < rank(); ++d) axes[d] = d;
  if (rank() > 0) std::swap(axes[axis0], axes[axis1]);
  return permute(axes);
}

Tensor Tensor::slice(int axis, std::int64_t start, std::int64_t end, std::int64_t step) const {
  axis = normalize_axis("slice", axis, rank());
  const std::int64_t n = shape()[axis];
  const std::int64_t first = start < 0 ? start + n : start, last = end < 0 ? end + n : end;
  EK_CHECK(step >= 1, "slice: step {} given, at least 1 is needed", step);
  EK_CHECK(0 <= first && first <= last && last <= n,
           "slice: [{}, {}) is out of range for axis {} of shape {}", start, end, axis, shape().str());
  Shape new_shape = shape(), new_strides = strides();
  new_shape[axis] = (last - first) / step + ((last - first) % step != 0);
  if (new_shape[axis] > 1) new_strides[axis] *= step;  // so that it is below the axis' size
  Tensor y = view(new_shape, new_strides, offset() + (first < last ? first * strides()[axis] : 0));
  autograd::record("slice", y, {this},
                   [old = shape(), options = options(), axis, first, last, step](const Tensor& dy) {
                     Tensor dx = zeros(old, options);
                     dx.slice(axis, first, last, step).copy_(dy);
                     return std::vector{dx};
                   });
  return y;
}

Tensor Tensor::broadcast_to(const Shape& target) const {
  EK_CHECK(broadcast_shapes("broadcast_to", shape(), target) == target,
           "broadcast_to: shape {} does not broadcast to {}", shape().str(), target.str());
  const int extra = target.rank() - rank();
  Shape new_strides(target.rank(), 0);
  for (int d = 0; d < rank(); ++d) {
    if (shape()[d] != 1) new_strides[d + extra] = strides()[d];
  }
  Tensor y = view(target, new_strides, offset());
  autograd::record("broadcast_to", y, {this},
                   [old = shape()](const Tensor& dy) { return std::vector{sum_to(dy, old)}; });
  return y;
}

// --- copies
// --------------------------------------------------------------------------------------------------------

Tensor Tensor::contiguous() const { return is_contiguous() ? *this : clone(); }

Tensor Tensor::clone() const {
  Tensor y = empty_like(*this);
  copy_elements(y, *this);
  autograd::record("clone", y, {this}, [](const Tensor& dy) { return std::vector{dy}; });
  return y;
}

Tensor Tensor::to(Device device) const {
  if (device == this->device()) return *this;
  const Tensor x = detach().contiguous();
  Tensor y = empty(shape(), {dtype(), device});
  copy_between_devices(y, x);
  autograd::record("to", y, {this},
                   [from = this->device()](const Tensor& dy) { return std::vector{dy.to(from)}; });
  return y;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == this->dtype()) return *this;
  Tensor y = empty(shape(), {dtype, device()});
  copy_elements(y, *this);
  if (is_floating(dtype)) {
    autograd::record("to", y, {this},
                     [from = this->dtype()](const Tensor& dy) { return std::vector{dy.to(from)}; });
  }
  return y;
}

// --- changes in place
// ----------------------------------------------------------------------------------------------

void Tensor::check_in_place(const char* op, const Tensor* source) const {
  EK_CHECK(source == nullptr || source->defined(), "{}: the source is undefined", op);
  const bool recorded = requires_grad() || (source != nullptr && source->requires_grad());
  EK_CHECK(!(recorded && grad_enabled()),
           "{}: changes in place are not recorded, so the gradient would be lost; do it under NoGrad, or "
           "with detach()",
           op);
}

namespace {

/// A view of x with each place once where x repeats it by strides of 0: writing one value to it writes all of
/// x.
Tensor without_repetition(const Tensor& x) {
  Tensor y = x.detach();
  for (int d = 0; d < y.rank(); ++d) {
    if (y.strides()[d] == 0 && y.shape()[d] > 1) y = y.slice(d, 0, 1);
  }
  return y;
}

/// The value as `op` writes it to a T: for an integer truncated, u8 modulo 256, as PyTorch does. What T does
/// not hold, a finite number that would become infinite too, is an error.
template <typename T>
double representable(const char* op, double value) {
  if constexpr (std::is_integral_v<T>) {
    constexpr bool kIsByte = std::is_same_v<T, std::uint8_t>;
    constexpr double kLimit = kIsByte ? 0x1p8 : 0x1p63;
    EK_CHECK(value < kLimit && (kIsByte ? value > -kLimit : value >= -kLimit), "{}: {} is no value for {}",
             op, value, name_of(kDTypeOf<T>));
    return static_cast<double>(static_cast<T>(static_cast<std::int64_t>(value)));
  } else {
    EK_CHECK(!std::isfinite(value) || std::isfinite(static_cast<double>(static_cast<T>(value))),
             "{}: {} is no value for {}", op, value, name_of(kDTypeOf<T>));
    return value;
  }
}

}  // namespace

Tensor& Tensor::fill_(double value) {
  check_in_place("fill_");
  Tensor y = without_repetition(*this);
  check_no_overlap("fill_", y);
  dispatch_any(dtype(), [&]<typename T>() {
    const FillArgs<T> args{.y = y.mutable_data<T>(),
                           .value = representable<T>("fill_", value),
                           .shape = y.shape().extents(),
                           .strides = y.strides().extents()};
    run_kernel<cpu::fill<T>, cuda::fill<T>>("fill", device(), args);
  });
  return *this;
}

Tensor& Tensor::copy_(const Tensor& source) {
  check_in_place("copy_", &source);
  check_no_overlap("copy_", *this);
  const Tensor broadcast = source.detach().to(device()).broadcast_to(shape());
  copy_elements(*this, apart_from(broadcast, {this}));
  return *this;
}

Tensor& Tensor::add_(const Tensor& other, double alpha) {
  check_in_place("add_", &other);
  check_same_kind("add_", {this, &other});
  check_no_overlap("add_", *this);
  EK_CHECK(is_floating(dtype()) || alpha == std::trunc(alpha), "add_: alpha {} is no factor of a {} tensor",
           alpha, name_of(dtype()));
  dispatch_any(dtype(), [&]<typename T>() { representable<Arithmetic<T>>("add_, alpha", alpha); });
  const NoGrad guard;
  const Tensor x = apart_from(other.detach().broadcast_to(shape()), {this}).contiguous();
  if (!is_contiguous()) return copy_(clone().add_(x, alpha));
  dispatch_any(dtype(), [&]<typename T>() {
    const AxpyArgs<T> args{.y = mutable_data<T>(), .x = x.data<T>(), .alpha = alpha, .n = numel()};
    run_kernel<cpu::axpy<T>, cuda::axpy<T>>("axpy", device(), args);
  });
  return *this;
}

void Tensor::set_data(const Tensor& other) {
  if (variable()) {
    EK_CHECK(!variable()->node, "set_data: this is the result of {}, not a leaf; use detach()",
             variable()->node->op);
    EK_CHECK(!requires_grad() || is_floating(other.dtype()),
             "set_data: this tensor requires a gradient, which data of {} cannot have",
             name_of(other.dtype()));
  }
  impl().storage = other.storage();
  impl().offset = other.offset();
  impl().shape = other.shape();
  impl().strides = other.impl().strides;
  impl().dtype = other.dtype();
}

// --- autograd
// ------------------------------------------------------------------------------------------------------

bool Tensor::requires_grad() const { return variable() && variable()->wanted; }

Tensor& Tensor::requires_grad_(bool value) {
  if (value == requires_grad()) return *this;
  EK_CHECK(is_floating(dtype()), "requires_grad_: only floating-point tensors have gradients, this one is {}",
           name_of(dtype()));
  EK_CHECK(!variable() || !variable()->node,
           "requires_grad_: this is the result of {}, not a leaf; use detach()", variable()->node->op);
  if (!variable()) {
    impl().variable = std::make_shared<autograd::Variable>();
  }
  variable()->wanted = value;
  return *this;
}

Tensor Tensor::grad() const { return variable() ? variable()->grad : Tensor(); }

void Tensor::zero_grad() {
  if (variable()) variable()->grad = {};
}

void Tensor::backward(const Tensor& gradient) const { autograd::backward(*this, gradient); }

Tensor Tensor::detach() const { return {storage(), offset(), shape(), impl().strides, dtype()}; }

// --- factories
// -----------------------------------------------------------------------------------------------------

Tensor empty(const Shape& shape, TensorOptions options) {
  return {Storage(checked_product("empty", {shape.numel(), size_of(options.dtype)}), options.device), 0,
          shape, contiguous_strides(shape), options.dtype};
}

Tensor full(const Shape& shape, double value, TensorOptions options) {
  Tensor y = empty(shape, options);
  y.fill_(value);
  return y;
}

Tensor zeros(const Shape& shape, TensorOptions options) { return full(shape, 0, options); }
Tensor ones(const Shape& shape, TensorOptions options) { return full(shape, 1, options); }

Tensor arange(std::int64_t start, std::int64_t end, TensorOptions options) {
  EK_CHECK(start <= end, "arange: start {} is past end {}", start, end);
  std::int64_t n = 0;
  EK_CHECK(!__builtin_sub_overflow(end, start, &n), "arange: there are too many numbers from {} to {}", start,
           end);
  Tensor values = empty({n}, {DType::i64});
  std::iota(values.mutable_data<std::int64_t>(), values.mutable_data<std::int64_t>() + n, start);
  return values.to(options.dtype).to(options.device);
}

Tensor empty_like(const Tensor& x) { return empty(x.shape(), x.options()); }
Tensor zeros_like(const Tensor& x) { return zeros(x.shape(), x.options()); }

template <typename T>
Tensor from_vector(const std::vector<T>& values, const Shape& shape, Device device) {
  EK_CHECK(static_cast<std::int64_t>(values.size()) == shape.numel(),
           "from_vector: {} values do not fill shape {}", values.size(), shape.str());
  Tensor y = empty(shape, {kDTypeOf<T>});
  std::copy(values.begin(), values.end(), y.mutable_data<T>());
  return y.to(device);
}

Tensor tensor(const std::vector<float>& values) {
  return from_vector(values, {static_cast<std::int64_t>(values.size())});
}

namespace {

void check_same_device(const char* op, const Tensor& first, const Tensor& x) {
  EK_CHECK(x.device() == first.device(),
           "{}: tensors are on different devices, {} and {}; move one with to()", op, first.device().str(),
           x.device().str());
}

}  // namespace

void check_same_kind(const char* op, std::initializer_list<const Tensor*> required,
                     std::initializer_list<const Tensor*> optional) {
  for (const Tensor* x : required) EK_CHECK(x->defined(), "{}: a tensor is undefined", op);
  const Tensor& first = **required.begin();
  for (const auto& list : {required, optional}) {
    for (const Tensor* x : list) {
      if (!x->defined()) continue;
      EK_CHECK(x->dtype() == first.dtype(),
               "{}: tensors have different dtypes, {} and {}; convert one with to()", op,
               name_of(first.dtype()), name_of(x->dtype()));
      check_same_device(op, first, *x);
    }
  }
}

void check_parameters(const char* op, const Tensor& x, std::initializer_list<const Tensor*> required,
                      std::initializer_list<const Tensor*> optional) {
  EK_CHECK(x.defined(), "{}: a tensor is undefined", op);
  for (const Tensor* p : required) EK_CHECK(p->defined(), "{}: a tensor is undefined", op);
  for (const auto& list : {required, optional}) {
    for (const Tensor* p : list) {
      if (!p->defined()) continue;
      EK_CHECK(p->dtype() == arithmetic_of(x.dtype()),
               "{}: x is {}, so its parameters must be {}, not {}; convert one with to()", op,
               name_of(x.dtype()), name_of(arithmetic_of(x.dtype())), name_of(p->dtype()));
      check_same_device(op, x, *p);
    }
  }
}

#define EK_INSTANTIATE(T)                               \
  template std::vector<T> Tensor::to_vector<T>() const; \
  template Tensor from_vector(const std::vector<T>&, const Shape&, Device);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
EK_INSTANTIATE(bf16)
EK_INSTANTIATE(f16)
EK_INSTANTIATE(std::int64_t)
EK_INSTANTIATE(std::uint8_t)
#undef EK_INSTANTIATE

}  // namespace evenkeel
