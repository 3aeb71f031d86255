// sum, mean, max, argmax, sum_to.
#include <cmath>

#include "evenkeel/core/ops.h"
#include "property/families.h"
#include "reference/tensor_ops.h"

namespace evenkeel::property {
namespace {

enum class Kind { sum, mean, max };

/// Axes to reduce, some of them negative; none stands for all. Now and then wrong ones.
std::vector<int> draw_axes(const Sizes& shape, Gen& gen, std::vector<bool>& reduced, std::string& invalid) {
  const int rank = static_cast<int>(shape.size());
  std::vector<int> axes;
  reduced.assign(shape.size(), false);
  for (int d = 0; d < rank; ++d) {
    if (!gen.chance(45)) continue;
    axes.push_back(gen.chance(40) ? d - rank : d);
    reduced[static_cast<std::size_t>(d)] = true;
  }
  if (gen.chance(4)) {
    axes.push_back(static_cast<int>(gen.pick({rank, -rank - 1, INT32_MAX, INT32_MIN})));
    invalid = "an axis is out of range";
  } else if (!axes.empty() && gen.chance(4)) {
    axes.push_back(axes.front());
    invalid = "an axis is named twice";
  }
  if (axes.empty()) reduced.assign(shape.size(), true);
  return axes;
}

Index elements_in_one(const Sizes& shape, const std::vector<bool>& reduced) {
  Index n = 1;
  for (std::size_t d = 0; d < shape.size(); ++d)
    if (reduced[d]) n *= shape[d];
  return n;
}

void reduction(const char* name, Kind kind, Gen& gen) {
  OpCase c;
  c.op = name;
  const Sizes shape = gen.shape(static_cast<int>(gen.integer(0, 5)));
  c.inputs = {gen.operand(shape)};
  std::vector<bool> reduced;
  const std::vector<int> axes = draw_axes(shape, gen, reduced, c.invalid);
  const bool keepdim = gen.chance(40);
  c.args = fmt::format(R"("axes": [{}], "keepdim": {})", fmt::join(axes, ", "), keepdim);
  const Index count = elements_in_one(shape, reduced);
  if (kind != Kind::sum && count == 0 && c.invalid.empty()) {
    c.invalid = "no elements have neither a largest nor a mean";
    if (kind == Kind::mean) c.torch_has_it = false;  // there it is NaN: docs/differences.md
  }
  if (c.invalid == "an axis is out of range") c.torch_has_it = false;  // it lets INT32_MIN wrap
  damage(c, gen, Damage::undefined);
  c.run = [=](const std::vector<Tensor>& in) {
    return kind == Kind::sum    ? sum(in[0], axes, keepdim)
           : kind == Kind::mean ? mean(in[0], axes, keepdim)
                                : max(in[0], axes, keepdim);
  };
  if (!c.invalid.empty()) return check(c, gen);
  const reference::Map map = reference::reduce_map(shape, reduced);
  const Sizes kept = reference::reduced_shape(shape, reduced, true);
  const Sizes result = reference::reduced_shape(shape, reduced, keepdim);
  const double factor = kind == Kind::mean ? 1 / static_cast<double>(count) : 1;
  c.forward = [=](const std::vector<Array>& in) {
    Array y =
        kind == Kind::max ? reference::max_over(in[0], map, kept) : reference::scatter_add(in[0], map, kept);
    if (kind == Kind::mean) y.values *= factor;
    y.shape = result;
    return y;
  };
  c.backward = [=](const Array& dy, const std::vector<Array>& in) {
    Array dkept = dy;
    dkept.shape = kept;
    if (kind == Kind::max) return std::vector<Array>{reference::max_over_backward(dkept, in[0], map)};
    dkept.values *= factor;
    return std::vector<Array>{reference::gather(dkept, map, shape)};
  };
  c.is_sum_of_products = kind != Kind::max;
  check(c, gen);
}

void argmax_case(Gen& gen) {
  OpCase c;
  c.op = "argmax";
  const int rank = static_cast<int>(gen.integer(1, 4));
  const Sizes shape = gen.shape(rank);
  c.inputs = {gen.operand(shape)};
  int axis = static_cast<int>(gen.integer(-rank, rank - 1));
  if (gen.chance(5)) {
    axis = static_cast<int>(gen.pick({rank, -rank - 1, INT32_MAX, INT32_MIN}));
    c.invalid = "the axis is out of range";
  } else if (shape[static_cast<std::size_t>(axis < 0 ? axis + rank : axis)] == 0) {
    c.invalid = "there is no largest of no elements";
  }
  c.args = fmt::format(R"("axis": {})", axis);
  c.y_dtype = DType::i64;
  damage(c, gen, Damage::undefined);
  c.run = [=](const std::vector<Tensor>& in) { return argmax(in[0], axis); };
  c.forward = [=](const std::vector<Array>& in) {
    return reference::argmax(in[0], axis < 0 ? axis + rank : axis);
  };
  check(c, gen);
}

void sum_to_case(Gen& gen) {
  OpCase c;
  c.op = "sum_to";
  const Sizes shape = gen.shape(static_cast<int>(gen.integer(0, 4)));
  c.inputs = {gen.operand(shape)};
  Sizes target(shape.begin() + gen.integer(0, static_cast<Index>(shape.size())), shape.end());
  for (Index& size : target)
    if (gen.chance(30)) size = 1;
  if (gen.chance(6) && !target.empty()) {
    target[0] = gen.pick({target[0] + 1, target[0] + 2});
    if (target[0] != 1 || !target.empty()) c.invalid = "no broadcast of the target has the shape of x";
    Sizes all;
    if (reference::broadcast(target, shape, all) && all == shape) c.invalid = "";
  }
  c.args = fmt::format(R"("shape": {})", str(target));
  c.torch_has_it = false;
  damage(c, gen, Damage::undefined);
  c.run = [=](const std::vector<Tensor>& in) { return sum_to(in[0], to_shape(target)); };
  if (!c.invalid.empty()) return check(c, gen);
  const reference::Map map = reference::broadcast_map(target, shape);
  c.forward = [=](const std::vector<Array>& in) { return reference::scatter_add(in[0], map, target); };
  c.backward = [=](const Array& dy, const std::vector<Array>&) {
    return std::vector<Array>{reference::gather(dy, map, shape)};
  };
  c.is_sum_of_products = true;
  check(c, gen);
}

}  // namespace

void add_reductions(std::vector<Property>& all) {
  all.insert(all.end(), {{"sum", [](Gen& g) { reduction("sum", Kind::sum, g); }},
                         {"mean", [](Gen& g) { reduction("mean", Kind::mean, g); }},
                         {"max", [](Gen& g) { reduction("max", Kind::max, g); }},
                         {"argmax", argmax_case},
                         {"sum_to", sum_to_case}});
}

}  // namespace evenkeel::property
