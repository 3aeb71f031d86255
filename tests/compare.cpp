#include "compare.h"

#include <bit>
#include <cmath>
#include <numbers>

namespace evenkeel::test {

Array to_array(const Tensor& x) {
  Array values(reference::Sizes(x.shape().begin(), x.shape().end()));
  const std::vector<double> elements = x.to_vector<double>();
  for (std::size_t i = 0; i < elements.size(); ++i) values.values[static_cast<Eigen::Index>(i)] = elements[i];
  return values;
}

Tensor to_tensor(const Array& values, TensorOptions options) {
  Shape shape;
  for (Eigen::Index size : values.shape) shape.push_back(size);
  const std::vector<double> elements(values.values.data(), values.values.data() + values.numel());
  return from_vector(elements, shape).to(options.dtype).to(options.device);
}

std::ostream& operator<<(std::ostream& out, const Comparison& comparison) {
  return out << (comparison.ok ? "equal" : comparison.message);
}

namespace {

std::string str(const reference::Sizes& sizes) { return fmt::format("[{}]", fmt::join(sizes, ", ")); }

/// The indices of element i of a row-major array.
std::string position(const reference::Sizes& sizes, Eigen::Index i) {
  reference::Sizes indices(sizes.size());
  for (std::size_t axis = sizes.size(); axis-- > 0;) {
    indices[axis] = i % sizes[axis];
    i /= sizes[axis];
  }
  return str(indices);
}

/// Equal shapes, and |actual - expected| <= allowed(expected) everywhere.
template <typename F>
Comparison close_within(const Tensor& actual, const Array& expected, F allowed) {
  if (!actual.defined()) return {false, "the tensor is undefined"};
  const Array values = to_array(actual);
  if (values.shape != expected.shape) {
    return {false, fmt::format("shape {}, expected {}", str(values.shape), str(expected.shape))};
  }
  Eigen::Index wrong = 0, worst = -1;
  double worst_error = 0;
  for (Eigen::Index i = 0; i < values.numel(); ++i) {
    const double error = std::abs(values.values[i] - expected.values[i]);
    if (error <= allowed(expected.values[i])) continue;
    ++wrong;
    if (worst < 0 || !(error <= worst_error)) {
      worst = i;
      worst_error = error;
    }
  }
  if (wrong == 0) return {};
  return {
      false,
      fmt::format("{} of {} elements differ by more than {:.3g}; worst at {} of {}: {:.9g}, expected {:.9g}",
                  wrong, values.numel(), allowed(expected.values[worst]), position(values.shape, worst),
                  str(values.shape), values.values[worst], expected.values[worst])};
}

}  // namespace

double unit_roundoff(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return 0x1p-24;
    case DType::bf16:
      return 0x1p-8;
    case DType::f16:
      return 0x1p-11;
    default:
      return 0x1p-53;
  }
}

Comparison close(const Tensor& actual, const Array& expected, double tolerance, double scale) {
  const double allowed = tolerance * (scale > 0 ? scale : expected.largest());
  return close_within(actual, expected, [=](double) { return allowed; });
}

Comparison close_rounded(const Tensor& actual, const Array& expected, double error) {
  if (!actual.defined()) return {false, "the tensor is undefined"};
  const double roundoff = unit_roundoff(actual.dtype());
  // Half the distance between the smallest numbers, which have no digits to lose.
  const double smallest = actual.dtype() == DType::f16 ? 0x1p-25 : 0;
  return close_within(actual, expected, [=](double value) {
    return error + std::max(roundoff * (std::abs(value) + error), smallest);
  });
}

Comparison close(const Tensor& actual, const Array& expected) {
  if (!actual.defined()) return {false, "the tensor is undefined"};
  const double relative = tolerance(actual.dtype());
  return is_16bit(actual.dtype()) ? close_rounded(actual, expected, relative * expected.largest())
                                  : close(actual, expected, relative);
}

Comparison same_bits(const Tensor& a, const Tensor& b) {
  if (!a.defined() || !b.defined()) return {false, "a tensor is undefined"};
  if (a.shape() != b.shape())
    return {false, fmt::format("shapes {} and {}", a.shape().str(), b.shape().str())};
  if (a.dtype() != b.dtype())
    return {false, fmt::format("dtypes {} and {}", name_of(a.dtype()), name_of(b.dtype()))};
  const std::vector<double> va = a.to_vector<double>(), vb = b.to_vector<double>();
  for (std::size_t i = 0; i < va.size(); ++i) {
    if (std::bit_cast<std::uint64_t>(va[i]) != std::bit_cast<std::uint64_t>(vb[i])) {
      return {false, fmt::format("element {} of {}: {:.17g} and {:.17g}", i, a.shape().str(), va[i], vb[i])};
    }
  }
  return {};
}

Comparison mentions(const std::string& message, const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    if (message.find(word) == std::string::npos) {
      return {false, fmt::format("\"{}\" is not in the message \"{}\"", word, message)};
    }
  }
  return {};
}

std::vector<Device> devices() {
  std::vector<Device> all{Device::cpu()};
  for (int i = 0; i < cuda_devices().count; ++i) all.push_back(Device::cuda(i));
  return all;
}

double Random::next_uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }

double Random::next_normal() {
  const double radius = std::sqrt(-2 * std::log(1 - next_uniform()));
  return radius * std::cos(2 * std::numbers::pi * next_uniform());
}

Tensor Random::normal(const Shape& shape, TensorOptions options, double mean, double std) {
  std::vector<double> values(static_cast<std::size_t>(shape.numel()));
  for (double& value : values) value = mean + std * next_normal();
  return from_vector(values, shape).to(options.dtype).to(options.device);
}

Tensor Random::uniform(const Shape& shape, TensorOptions options, double low, double high) {
  std::vector<double> values(static_cast<std::size_t>(shape.numel()));
  for (double& value : values) value = low + (high - low) * next_uniform();
  return from_vector(values, shape).to(options.dtype).to(options.device);
}

Tensor Random::constant_planes(const Shape& shape, TensorOptions options, int axes) {
  Shape leading = shape;
  for (int axis = axes; axis < shape.rank(); ++axis) leading[axis] = 1;
  return normal(leading, options).broadcast_to(shape).clone();
}

Tensor Random::labels(std::int64_t n, std::int64_t classes, Device device) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(n));
  for (auto& value : values)
    value = static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(classes));
  return from_vector(values, {n}).to(device);
}

Tensor leaf(const Tensor& x) { return x.detach().clone().requires_grad_(); }

Tensor with_gaps(const Tensor& x) {
  Shape wide = x.shape();
  wide[x.rank() - 1] = 2 * wide[x.rank() - 1] + 1;
  Tensor view = full(wide, -77, x.options()).slice(-1, 1, wide[x.rank() - 1], 2);
  return view.copy_(x.detach());
}

Tensor transposed_in_memory(const Tensor& x) { return x.transpose(0, -1).clone().transpose(0, -1); }

Names names(const NamedTensors& tensors) {
  Names out;
  for (const auto& [name, tensor] : tensors) out.push_back(name);
  return out;
}

void check_same(const NamedTensors& a, const NamedTensors& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    INFO(a[i].first);
    CHECK(a[i].first == b[i].first);
    CHECK(same_bits(a[i].second, b[i].second));
  }
}

}  // namespace evenkeel::test
