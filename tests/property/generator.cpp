#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "property/property.h"
#include "reference/tensor_ops.h"

namespace evenkeel::property {
namespace {

const double kNaN = std::numeric_limits<double>::quiet_NaN();
const double kInf = std::numeric_limits<double>::infinity();

void note_bits(std::uint64_t bits) { bits_read = std::rotl(bits_read ^ bits, 29) * 0x9e3779b97f4a7c15u; }

}  // namespace

Gen::Gen(std::uint64_t seed, Device device) : seed_(seed), engine_(seed), device_(device) {
  // The first seeds are the small cases, so that a failure shows in a small one first.
  most_elements_ = seed < 10 ? 60 : chance(60) ? 400 : 4000;
}

Index Gen::integer(Index low, Index high) {
  return low + static_cast<Index>(engine_() % static_cast<std::uint64_t>(high - low + 1));
}

double Gen::uniform(double low, double high) {
  return low + (high - low) * static_cast<double>(engine_() >> 11) * 0x1p-53;
}

Index Gen::pick(std::initializer_list<Index> values) {
  return values.begin()[integer(0, static_cast<Index>(values.size()) - 1)];
}

Index Gen::size(bool zero) {
  const Index kind = integer(1, 100);
  if (kind <= 5) return zero ? 0 : 1;
  if (kind <= 17) return 1;
  if (kind <= 60) return integer(2, 6);
  if (kind <= 75) return integer(7, 9);
  if (kind <= 90) return integer(15, 17);
  return integer(63, 65);
}

Sizes Gen::shape(int rank, bool zero) {
  Sizes sizes(static_cast<std::size_t>(rank));
  Index n = 1;
  // Axes are drawn in random order, as the first ones have the most room.
  std::vector<std::size_t> order(sizes.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), engine_);
  for (std::size_t axis : order) {
    Index s = size(zero);
    while (s > 1 && n * s > most_elements_) s = std::max<Index>(1, s / 4);
    sizes[axis] = s;
    n *= std::max<Index>(s, 1);
  }
  return sizes;
}

Index Gen::huge() {
  return pick({Index{1} << 46, Index{1} << 61, Index{1} << 62, (Index{1} << 62) + 1, INT64_MAX / 2,
               INT64_MAX - 8, INT64_MAX - 1, INT64_MAX});
}

Layout Gen::layout(const Sizes& shape) {
  Layout l;
  const std::size_t rank = shape.size();
  l.step.assign(rank, 1);
  l.skip.assign(rank, 0);
  l.repeated.assign(rank, false);
  l.order.resize(rank);
  for (std::size_t i = 0; i < rank; ++i) l.order[i] = static_cast<int>(i);
  if (!chance(40)) return l;
  if (chance(60)) std::shuffle(l.order.begin(), l.order.end(), engine_);
  for (std::size_t i = 0; i < rank; ++i) {
    if (chance(30)) l.step[i] = integer(1, 3);
    if (chance(20)) l.skip[i] = integer(1, 2);
    if (chance(15)) l.repeated[i] = true;
  }
  return l;
}

Array Gen::numbers(const Sizes& shape, bool special) {
  Array x(shape);
  const Index kind = integer(0, 9);
  const double offset = kind == 9 ? 50 : 0;
  for (double& value : x.values) {
    const double radius = std::sqrt(-2 * std::log(1 - uniform(0, 1)));
    const double normal = offset + radius * std::cos(2 * std::numbers::pi * uniform(0, 1));
    value = static_cast<float>(kind <= 1 ? std::round(normal * 2) : normal);
  }
  if (special && x.numel() > 0 && chance(12)) {
    for (Index count = integer(1, 3); count > 0; --count) {
      const Index what = integer(0, 3);
      x.values[integer(0, x.numel() - 1)] = what <= 1 ? kNaN : what == 2 ? kInf : -kInf;
    }
  }
  return x;
}

namespace {

/// Makes the values the same along the repeated axes.
void repeat(Array& x, const std::vector<bool>& repeated) {
  Sizes base = x.shape;
  for (std::size_t i = 0; i < base.size(); ++i)
    if (repeated[i] && base[i] > 0) base[i] = 1;
  if (base == x.shape) return;
  std::vector<bool> reduced(repeated);
  const reference::Map map = reference::broadcast_map(base, x.shape);
  std::vector<Index> first(static_cast<std::size_t>(reference::numel(base)), -1);
  for (Index i = 0; i < x.numel(); ++i) {
    Index& from = first[static_cast<std::size_t>(map[static_cast<std::size_t>(i)])];
    if (from < 0) from = i;
    x.values[i] = x.values[from];
  }
}

}  // namespace

Operand Gen::operand(const Sizes& shape, bool special) {
  Operand o;
  o.layout = layout(shape);
  o.values = numbers(shape, special);
  repeat(o.values, o.layout.repeated);
  o.gradient = chance(75);
  return o;
}

Operand Gen::parameter(const Sizes& shape) {
  Operand o;
  o.layout = layout(shape);
  o.values = numbers(shape, false);
  repeat(o.values, o.layout.repeated);
  o.gradient = chance(75);
  return o;
}

Operand Gen::labels(Index n, Index classes) {
  Operand o;
  o.layout = layout({n});
  o.values = Array({n});
  o.is_i64 = true;
  for (double& value : o.values.values)
    value = static_cast<double>(integer(0, std::max<Index>(classes, 1) - 1));
  repeat(o.values, o.layout.repeated);
  return o;
}

Operand Gen::undefined() {
  Operand o;
  o.defined = false;
  return o;
}

Shape to_shape(const Sizes& sizes) {
  Shape shape;
  for (Index size : sizes) shape.push_back(size);
  return shape;
}

Sizes to_sizes(const Shape& shape) { return Sizes(shape.begin(), shape.end()); }

std::uint64_t bits_read = 1;

Array to_array(const Tensor& x) {
  Array a(to_sizes(x.shape()));
  const std::vector<double> elements = x.to_vector<double>();
  for (const Index size : a.shape) note_bits(static_cast<std::uint64_t>(size));
  for (const double value : elements) note_bits(std::bit_cast<std::uint64_t>(value == value ? value : kNaN));
  for (std::size_t i = 0; i < elements.size(); ++i) a.values[static_cast<Index>(i)] = elements[i];
  return a;
}

std::string str(const Sizes& sizes) { return fmt::format("[{}]", fmt::join(sizes, ", ")); }

std::string describe(const Operand& o) {
  if (!o.defined) return "undefined";
  std::string text = str(o.values.shape);
  if (o.is_i64) text += " i64";
  if (o.other_dtype) text += " of the other dtype";
  if (o.gradient) text += " with gradient";
  const Layout& l = o.layout;
  for (std::size_t i = 0; i < l.order.size(); ++i) {
    if (l.repeated[i]) text += fmt::format(", axis {} repeated", i);
    if (l.step[i] > 1 || l.skip[i] > 0)
      text += fmt::format(", axis {} sliced {}::{}", i, l.skip[i], l.step[i]);
  }
  if (!std::is_sorted(l.order.begin(), l.order.end()))
    text += fmt::format(", in memory [{}]", fmt::join(l.order, ", "));
  return text;
}

namespace {

DType dtype_of(const Operand& o, DType dtype) {
  if (o.is_i64) return DType::i64;
  if (!o.other_dtype) return dtype;
  return dtype == DType::f64 ? DType::f32 : DType::f64;
}

template <typename T>
Tensor strided_tensor(const Operand& o, Device device) {
  const Sizes& sizes = o.values.shape;
  const Layout& l = o.layout;
  const std::size_t rank = sizes.size();
  Shape strides(static_cast<int>(rank), 0);
  Index room = 1, offset = 0;
  for (std::size_t i = rank; i-- > 0;) {
    const int axis = l.order[i];
    const auto a = static_cast<std::size_t>(axis);
    if (l.repeated[a]) continue;
    strides[axis] = room * l.step[a];
    offset += room * l.skip[a];
    room *= l.skip[a] + std::max<Index>(sizes[a], 1) * l.step[a];
  }
  std::vector<T> memory(static_cast<std::size_t>(room), std::is_floating_point_v<T>
                                                            ? std::numeric_limits<T>::quiet_NaN()
                                                            : static_cast<T>(-1));
  Sizes index(rank, 0);
  for (Index i = 0; i < o.values.numel(); ++i) {
    Index position = offset;
    for (std::size_t a = 0; a < rank; ++a) position += index[a] * strides[static_cast<int>(a)];
    memory[static_cast<std::size_t>(position)] = static_cast<T>(o.values.values[i]);
    for (std::size_t a = rank; a-- > 0;) {
      if (++index[a] < sizes[a]) break;
      index[a] = 0;
    }
  }
  const Tensor flat = from_vector(memory, {room}, device);
  return {flat.storage(), offset, to_shape(sizes), strides, flat.dtype()};
}

}  // namespace

Tensor make_tensor(const Operand& o, DType run_dtype, Device device) {
  if (!o.defined) return {};
  const DType dtype = dtype_of(o, run_dtype);
  Tensor x = dtype == DType::i64   ? strided_tensor<std::int64_t>(o, device)
             : dtype == DType::f64 ? strided_tensor<double>(o, device)
                                   : strided_tensor<float>(o, device);
  if (o.gradient) x.requires_grad_();
  return x;
}

}  // namespace evenkeel::property
