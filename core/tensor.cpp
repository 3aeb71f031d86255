#include "core/tensor.h"

#include <cmath>

#include "core/autograd.h"
#include "core/cuda.h"
#include "core/ops.h"
#include "kernels/elementwise.h"
#include "kernels/lanes.h"

namespace evenkeel {
namespace {

/// y = x, converting; both already have the same shape. The kernel behind every copy.
void copy_elements(const Tensor& y, const Tensor& x) {
  dispatch_any(y.dtype(), [&]<typename To>() {
    dispatch_any(x.dtype(), [&]<typename From>() {
      Tensor target = y;
      const CopyArgs<To, From> args{target.mutable_data<To>(), x.data<From>(), y.shape().extents(),
                                    y.strides().extents(), x.strides().extents()};
      EK_DISPATCH(y.device(), copy, args);
    });
  });
}

/// y = x between the memory formats; both dense with the same shape and dtype, one of them in lanes.
void copy_between_formats(Tensor& y, const Tensor& x) {
  const std::int64_t N = x.size(0);
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const LanesCopyArgs<T> args{y.mutable_data<T>(y.format()), x.data<T>(x.format()), N,
                                N > 0 ? x.numel() / N : 0};
    if (y.format() == MemoryFormat::lanes) {
      cpu::strided_to_lanes(args);
    } else {
      cpu::lanes_to_strided(args);
    }
  });
}

/// The elements that a tensor's memory has room for: in lanes, the last block is whole.
std::int64_t elements_of_memory(const Shape& shape, DType dtype, MemoryFormat format) {
  if (format == MemoryFormat::strided) return shape.numel();
  const std::int64_t lanes = dtype == DType::f32 ? kLanes<float> : kLanes<double>;
  Shape whole = shape;
  whole[0] = (shape[0] + lanes - 1) / lanes * lanes;
  return whole.numel();
}

/// y = x, both dense with the same shape and dtype, on different devices. Waits where the host takes part.
void copy_between_devices(Tensor& y, const Tensor& x) {
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

const char* name_of(MemoryFormat format) { return format == MemoryFormat::lanes ? "lanes" : "strided"; }

Tensor::Tensor(Storage storage, std::int64_t offset, const Shape& shape, const Shape& strides, DType dtype,
               MemoryFormat format)
    : impl_(
          std::make_shared<Impl>(Impl{std::move(storage), offset, shape, strides, dtype, format, nullptr})) {}

const Shape& Tensor::strides() const {
  EK_CHECK(format() == MemoryFormat::strided,
           "strides: a tensor in MemoryFormat::lanes has none; use to(MemoryFormat::strided)");
  return impl().strides;
}

bool Tensor::is_contiguous() const {
  if (format() != MemoryFormat::strided) return false;
  std::int64_t expected = 1;
  for (int d = rank() - 1; d >= 0; --d) {
    if (shape()[d] != 1 && strides()[d] != expected) return false;
    expected *= shape()[d];
  }
  return true;
}

const void* Tensor::raw_data(DType dtype, MemoryFormat format) const {
  EK_CHECK(this->dtype() == dtype, "data: a {} tensor was read as {}", name_of(this->dtype()),
           name_of(dtype));
  EK_CHECK(this->format() == format,
           "data: a tensor in MemoryFormat::{} was read as {}; use to(MemoryFormat::{}) first",
           name_of(this->format()), name_of(format), name_of(format));
  return storage().data() + offset() * size_of(dtype);
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
  std::int64_t known = 1;
  int inferred = -1;
  for (int d = 0; d < shape.rank(); ++d) {
    EK_CHECK(shape[d] >= 0 || (shape[d] == -1 && inferred < 0),
             "reshape: {} is no shape; only one size may be -1", shape.str());
    if (shape[d] == -1) {
      inferred = d;
    } else {
      known *= shape[d];
    }
  }
  EK_CHECK(inferred < 0 || known > 0, "reshape: -1 stands for any size in {}, as another size is 0",
           shape.str());
  if (inferred >= 0) shape[inferred] = numel() / known;
  EK_CHECK(shape.numel() == numel(), "reshape: {} elements of shape {} do not fit {}", numel(),
           this->shape().str(), shape.str());
  Shape new_strides = contiguous_strides(shape);
  const bool in_lanes = format() == MemoryFormat::lanes;
  const bool keeps_images = in_lanes && shape.rank() > 0 && shape[0] == this->shape()[0];
  if (in_lanes && !keeps_images) return contiguous().reshape(shape);
  if (!in_lanes && !is_contiguous() && !strides_for_view(this->shape(), strides(), shape, new_strides)) {
    return contiguous().reshape(shape);
  }
  Tensor y(storage(), offset(), shape, new_strides, dtype(), format());
  autograd::record("reshape", y, {this},
                   [old = this->shape()](const Tensor& dy) { return std::vector{dy.reshape(old)}; });
  return y;
}

Tensor Tensor::permute(const std::vector<int>& axes) const {
  EK_CHECK(static_cast<int>(axes.size()) == rank(), "permute: {} axes given for shape {}", axes.size(),
           shape().str());
  if (format() == MemoryFormat::lanes) return contiguous().permute(axes);
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
  std::vector<int> axes(rank());
  for (int d = 0; d < rank(); ++d) axes[d] = d;
  std::swap(axes[normalize_axis("transpose", axis0, rank())],
            axes[normalize_axis("transpose", axis1, rank())]);
  return permute(axes);
}

Tensor Tensor::slice(int axis, std::int64_t start, std::int64_t end, std::int64_t step) const {
  axis = normalize_axis("slice", axis, rank());
  if (format() == MemoryFormat::lanes) return contiguous().slice(axis, start, end, step);
  const std::int64_t n = shape()[axis];
  const std::int64_t first = start < 0 ? start + n : start, last = end < 0 ? end + n : end;
  EK_CHECK(step >= 1, "slice: step {} given, at least 1 is needed", step);
  EK_CHECK(0 <= first && first <= last && last <= n,
           "slice: [{}, {}) is out of range for axis {} of shape {}", start, end, axis, shape().str());
  Shape new_shape = shape(), new_strides = strides();
  new_shape[axis] = (last - first + step - 1) / step;
  new_strides[axis] *= step;
  Tensor y = view(new_shape, new_strides, offset() + first * strides()[axis]);
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
  if (format() == MemoryFormat::lanes) return contiguous().broadcast_to(target);
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

Tensor Tensor::contiguous() const {
  if (format() == MemoryFormat::lanes) return to(MemoryFormat::strided);
  return is_contiguous() ? *this : clone();
}

Tensor Tensor::to(MemoryFormat format) const {
  if (format == this->format()) return format == MemoryFormat::strided ? contiguous() : *this;
  const Tensor x = format == MemoryFormat::lanes ? detach().contiguous() : detach();
  Tensor y = empty(shape(), options(), format);
  copy_between_formats(y, x);
  autograd::record("to", y, {this}, [](const Tensor& dy) { return std::vector{dy}; });
  return y;
}

Tensor Tensor::lanes_memory() const {
  EK_CHECK(format() == MemoryFormat::lanes, "lanes_memory: the tensor is {}", name_of(format()));
  const std::int64_t n = elements_of_memory(shape(), dtype(), format());
  return view({n}, {1}, offset());
}

Tensor Tensor::clone() const {
  Tensor y = empty_like(*this);
  if (format() == MemoryFormat::lanes) {
    copy_elements(y.lanes_memory(), lanes_memory());
  } else {
    copy_elements(y, *this);
  }
  autograd::record("clone", y, {this}, [](const Tensor& dy) { return std::vector{dy}; });
  return y;
}

Tensor Tensor::to(Device device) const {
  if (device == this->device()) return *this;
  const Tensor x = detach().contiguous();
  Tensor y = empty(shape(), {dtype(), device});
  if constexpr (kCudaEnabled) copy_between_devices(y, x);
  autograd::record("to", y, {this},
                   [from = this->device()](const Tensor& dy) { return std::vector{dy.to(from)}; });
  return y;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == this->dtype()) return *this;
  if (format() == MemoryFormat::lanes) return contiguous().to(dtype);
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

void Tensor::check_in_place(const char* op) const {
  EK_CHECK(!(requires_grad() && grad_enabled()),
           "{}: changes in place are not recorded; do it under NoGrad, or on detach()", op);
}

Tensor& Tensor::fill_(double value) {
  check_in_place("fill_");
  if (format() == MemoryFormat::lanes) {
    lanes_memory().fill_(value);
    return *this;
  }
  dispatch_any(dtype(), [&]<typename T>() {
    const FillArgs<T> args{mutable_data<T>(), value, shape().extents(), strides().extents()};
    EK_DISPATCH(device(), fill, args);
  });
  return *this;
}

Tensor& Tensor::copy_(const Tensor& source) {
  check_in_place("copy_");
  if (format() == MemoryFormat::lanes) {
    const Tensor x = source.detach().to(device()).to(dtype());
    const Tensor in_lanes = (x.shape() == shape() ? x : x.broadcast_to(shape())).to(MemoryFormat::lanes);
    copy_elements(lanes_memory(), in_lanes.lanes_memory());
    return *this;
  }
  const Tensor broadcast = source.detach().to(device()).broadcast_to(shape());
  // Overlapping memory is read in full before any of it is written.
  copy_elements(*this, broadcast.storage() == storage() ? broadcast.clone() : broadcast);
  return *this;
}

Tensor& Tensor::add_(const Tensor& other, double alpha) {
  check_in_place("add_");
  check_same_kind("add_", {this, &other});
  const NoGrad guard;
  if (format() == MemoryFormat::lanes) {
    const Tensor x = other.shape() == shape() ? other.detach() : other.detach().broadcast_to(shape());
    lanes_memory().add_(x.to(MemoryFormat::lanes).lanes_memory(), alpha);
    return *this;
  }
  const Tensor broadcast = other.detach().broadcast_to(shape());
  const Tensor x = broadcast.storage() == storage() ? broadcast.clone() : broadcast.contiguous();
  if (!is_contiguous()) return copy_(clone().add_(x, alpha));
  dispatch_any(dtype(), [&]<typename T>() {
    const AxpyArgs<T> args{mutable_data<T>(), x.data<T>(), alpha, numel()};
    EK_DISPATCH(device(), axpy, args);
  });
  return *this;
}

void Tensor::set_data(const Tensor& other) {
  impl().storage = other.storage();
  impl().offset = other.offset();
  impl().shape = other.shape();
  impl().strides = other.impl().strides;
  impl().dtype = other.dtype();
  impl().format = other.format();
}

// --- autograd
// ------------------------------------------------------------------------------------------------------

Tensor& Tensor::requires_grad_(bool value) {
  EK_CHECK(is_floating(dtype()), "requires_grad_: only floating-point tensors have gradients, this one is {}",
           name_of(dtype()));
  EK_CHECK(!requires_grad() || !variable()->node,
           "requires_grad_: this is the result of {}, not a leaf; use detach()", variable()->node->op);
  if (value && !requires_grad()) {
    impl().variable = std::make_shared<autograd::Variable>();
    variable()->format = format();
  }
  if (!value) impl().variable = nullptr;
  return *this;
}

Tensor Tensor::grad() const { return requires_grad() ? variable()->grad : Tensor(); }

void Tensor::zero_grad() {
  if (requires_grad()) variable()->grad = {};
}

void Tensor::backward(const Tensor& gradient) const { autograd::backward(*this, gradient); }

Tensor Tensor::detach() const { return {storage(), offset(), shape(), impl().strides, dtype(), format()}; }

// --- factories
// -----------------------------------------------------------------------------------------------------

Tensor empty(const Shape& shape, TensorOptions options, MemoryFormat format) {
  std::int64_t n = 1;
  for (std::int64_t size : shape) {
    EK_CHECK(size >= 0, "{} is no shape: sizes are at least 0", shape.str());
    EK_CHECK(!__builtin_mul_overflow(n, size, &n) && n <= INT64_MAX / 8, "shape {} has too many elements",
             shape.str());
  }
  EK_CHECK(format == MemoryFormat::strided || (shape.rank() > 0 && is_floating(options.dtype) &&
                                               !is_16bit(options.dtype) && options.device.is_cpu()),
           "MemoryFormat::lanes: only f32 and f64 tensors on the CPU have it, not {} {} on {}",
           name_of(options.dtype), shape.str(), options.device.str());
  const std::int64_t elements = elements_of_memory(shape, options.dtype, format);
  return {Storage(elements * size_of(options.dtype), options.device),
          0,
          shape,
          contiguous_strides(shape),
          options.dtype,
          format};
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
  std::vector<std::int64_t> values(end - start);
  for (std::int64_t i = start; i < end; ++i) values[i - start] = i;
  return from_vector(values, {end - start}).to(options.dtype).to(options.device);
}

Tensor empty_like(const Tensor& x) { return empty(x.shape(), x.options(), x.format()); }
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
