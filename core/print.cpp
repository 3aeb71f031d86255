// Prints tensors as PyTorch does, but whole floating-point numbers with four digits too, and no number with
// spaces before it.
#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>
#include <type_traits>

#include "evenkeel/core/tensor.h"

namespace evenkeel {
namespace {

constexpr std::int64_t kEdge = 3;             // elements shown at each end of a shortened axis
constexpr std::int64_t kShortenAbove = 1000;  // elements

template <typename T>
struct Printer {
  std::vector<T> values;
  Shape shape;
  bool shorten;
  bool scientific = false;

  Printer(const Tensor& x) : values(x.to_vector<T>()), shape(x.shape()), shorten(x.numel() > kShortenAbove) {
    if constexpr (std::is_same_v<T, double>) {
      double least = std::numeric_limits<double>::infinity(), most = 0;
      for_each_shown(0, 0, [&](double value) {
        if (value == 0 || !std::isfinite(value)) return;
        least = std::min(least, std::abs(value));
        most = std::max(most, std::abs(value));
      });
      scientific = most > 0 && (most / least > 1e3 || most > 1e8 || least < 1e-4);
    }
  }

  /// The index after i that is shown, of n along an axis.
  std::int64_t next(std::int64_t i, std::int64_t n) const {
    return shorten && n > 2 * kEdge && i + 1 == kEdge ? n - kEdge : i + 1;
  }
  /// Elements from an offset to that of the next index along the axis.
  std::int64_t step(int axis) const {
    std::int64_t n = 1;
    for (int d = axis + 1; d < shape.rank(); ++d) n *= shape[d];
    return n;
  }

  template <typename F>
  void for_each_shown(int axis, std::int64_t offset, const F& f) const {
    if (values.empty()) return;
    if (axis == shape.rank()) return f(values[static_cast<std::size_t>(offset)]);
    for (std::int64_t i = 0; i < shape[axis]; i = next(i, shape[axis]))
      for_each_shown(axis + 1, offset + i * step(axis), f);
  }

  std::string text(T value) const {
    if constexpr (std::is_integral_v<T>) {
      return fmt::format("{}", value);
    } else {
      if (std::isnan(value)) return "nan";  // whatever its sign
      return scientific ? fmt::format("{:.4e}", value) : fmt::format("{:.4f}", value);
    }
  }

  void print(std::ostream& out, int axis, std::int64_t offset) const {
    if (axis == shape.rank()) {
      out << text(values[static_cast<std::size_t>(offset)]);
      return;
    }
    if (values.empty()) {
      out << "[]";
      return;
    }
    const std::int64_t n = shape[axis];
    const bool innermost = axis + 1 == shape.rank();
    const std::string separator = innermost ? ", " : ",\n" + std::string(axis + 8, ' ');
    out << '[';
    for (std::int64_t i = 0, following = 0; i < n; i = following) {
      print(out, axis + 1, offset + i * step(axis));
      following = next(i, n);
      if (following > i + 1) out << separator << "...";
      if (following < n) out << separator;
    }
    out << ']';
  }
};

}  // namespace

std::ostream& operator<<(std::ostream& out, const Tensor& x) {
  if (!x.defined()) return out << "tensor(undefined)";
  out << "tensor(";
  if (is_floating(x.dtype())) {
    Printer<double>(x).print(out, 0, 0);
  } else {
    Printer<std::int64_t>(x).print(out, 0, 0);
  }
  if (x.numel() == 0 && x.rank() > 1) out << ", shape=" << x.shape().str();
  if (x.dtype() != DType::f32) out << ", dtype=" << name_of(x.dtype());
  if (!x.device().is_cpu()) out << ", device=" << x.device().str();
  if (x.requires_grad()) out << ", requires_grad=true";
  return out << ')';
}

}  // namespace evenkeel
