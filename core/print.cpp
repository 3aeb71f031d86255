// Prints tensors as PyTorch does.
#include <ostream>

#include "evenkeel/core/tensor.h"

namespace evenkeel {
namespace {

constexpr std::int64_t kEdge = 3;             // elements shown at each end of a shortened axis
constexpr std::int64_t kShortenAbove = 1000;  // elements

struct Printer {
  std::vector<double> values;
  Shape shape;
  bool whole;  // print as integers
  bool shorten;

  void print(std::ostream& out, int axis, std::int64_t offset) const {
    if (axis == shape.rank()) {
      out << (whole ? fmt::format("{:.0f}", values[offset]) : fmt::format("{:.4f}", values[offset]));
      return;
    }
    if (values.empty()) {
      out << "[]";
      return;
    }
    const std::int64_t n = shape[axis];
    std::int64_t step = 1;
    for (int d = axis + 1; d < shape.rank(); ++d) step *= shape[d];
    const bool innermost = axis + 1 == shape.rank();
    const std::string separator = innermost ? ", " : ",\n" + std::string(axis + 8, ' ');
    out << '[';
    for (std::int64_t i = 0; i < n; ++i) {
      if (i > 0) out << separator;
      if (shorten && n > 2 * kEdge && i == kEdge) {
        out << "..." << separator;
        i = n - kEdge;
      }
      print(out, axis + 1, offset + i * step);
    }
    out << ']';
  }
};

}  // namespace

std::ostream& operator<<(std::ostream& out, const Tensor& x) {
  if (!x.defined()) return out << "tensor(undefined)";
  const Printer printer{x.to_vector<double>(), x.shape(), !is_floating(x.dtype()), x.numel() > kShortenAbove};
  out << "tensor(";
  printer.print(out, 0, 0);
  if (x.numel() == 0 && x.rank() > 1) out << ", shape=" << x.shape().str();
  if (x.dtype() != DType::f32) out << ", dtype=" << name_of(x.dtype());
  if (!x.device().is_cpu()) out << ", device=" << x.device().str();
  if (x.requires_grad()) out << ", requires_grad=true";
  return out << ')';
}

}  // namespace evenkeel
