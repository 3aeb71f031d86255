// reshape, transpose, permute, slice, broadcast_to; contiguous, clone, to.
#include <algorithm>
#include <numeric>

#include "evenkeel/core/tensor.h"
#include "property/families.h"
#include "reference/tensor_ops.h"

namespace evenkeel::property {
namespace {

/// y is made of elements of x; what becomes of them is `map` to `result`.
void moves_elements(OpCase& c, const reference::Map& map, const Sizes& result) {
  const Sizes from = c.inputs[0].values.shape;
  c.forward = [=](const std::vector<Array>& in) { return reference::gather(in[0], map, result); };
  c.backward = [=](const Array& dy, const std::vector<Array>&) {
    return std::vector<Array>{reference::scatter_add(dy, map, from)};
  };
  c.is_sum_of_products = true;
}

reference::Map identity(Index n) {
  reference::Map map(static_cast<std::size_t>(n));
  std::iota(map.begin(), map.end(), Index{0});
  return map;
}

/// A shape of n elements.
Sizes shape_of(Index n, Gen& gen) {
  if (n == 0) return gen.chance(50) ? Sizes{0} : Sizes{gen.integer(0, 3), 0, gen.integer(1, 4)};
  Sizes shape;
  while (n > 1 && shape.size() < 5) {
    std::vector<Index> divisors;
    for (Index d = 1; d <= std::min<Index>(n, 70); ++d)
      if (n % d == 0) divisors.push_back(d);
    shape.push_back(
        divisors[static_cast<std::size_t>(gen.integer(0, static_cast<Index>(divisors.size()) - 1))]);
    n /= shape.back();
  }
  if (n > 1 || gen.chance(10)) shape.push_back(n);
  return shape;
}

void reshape_case(Gen& gen) {
  OpCase c;
  c.op = "reshape";
  const Sizes from = gen.shape(static_cast<int>(gen.integer(0, 5)));
  c.inputs = {gen.operand(from)};
  const Index n = reference::numel(from);
  Sizes result = shape_of(n, gen);
  if (!from.empty() && gen.chance(20)) {  // keeps the images
    Index rest = 1;
    for (std::size_t d = 1; d < from.size(); ++d) rest *= from[d];
    result = {from[0], rest};
  }
  Sizes asked = result;
  if (gen.chance(8)) {
    const Index kind = gen.integer(0, 4);
    if (kind == 0) asked = {n + 1};
    if (kind == 1) asked = {-1, -1, n};
    if (kind == 2) asked = {-2, n};
    if (kind == 3) asked = {Index{1} << 32, Index{1} << 32};
    if (kind == 4) asked = {gen.huge(), gen.huge(), gen.huge(), -1};
    c.invalid = "that is no shape for these elements";
  } else if (!asked.empty() && gen.chance(40)) {
    Index& inferred = asked[static_cast<std::size_t>(gen.integer(0, static_cast<Index>(asked.size()) - 1))];
    inferred = -1;
    Index known = 1;
    for (Index size : asked)
      if (size >= 0) known *= size;
    if (known == 0) {
      c.invalid = "-1 can be any size";
    } else {
      inferred = -1;
      for (std::size_t d = 0; d < asked.size(); ++d)
        if (asked[d] < 0) result[d] = n / known;
    }
  }
  c.args = fmt::format(R"("shape": {})", str(asked));
  c.also_named = {"shape"};
  damage(c, gen, Damage::undefined);
  c.run = [=](const std::vector<Tensor>& in) { return in.at(0).reshape(to_shape(asked)); };
  if (c.invalid.empty()) moves_elements(c, identity(n), result);
  check(c, gen);
}

void permute_case(Gen& gen) {
  OpCase c;
  const bool transpose = gen.chance(40);
  c.op = transpose ? "transpose" : "permute";
  const int rank = static_cast<int>(gen.integer(transpose ? 1 : 0, 5));
  const Sizes from = gen.shape(rank);
  c.inputs = {gen.operand(from)};
  std::vector<int> axes(static_cast<std::size_t>(rank));
  std::iota(axes.begin(), axes.end(), 0);
  std::vector<int> asked;
  if (transpose) {
    asked = {static_cast<int>(gen.integer(0, rank - 1)), static_cast<int>(gen.integer(0, rank - 1))};
    std::swap(axes[static_cast<std::size_t>(asked[0])], axes[static_cast<std::size_t>(asked[1])]);
  } else {
    for (std::size_t i = axes.size(); i > 1; --i)
      std::swap(axes[i - 1], axes[static_cast<std::size_t>(gen.integer(0, static_cast<Index>(i) - 1))]);
    asked = axes;
  }
  for (int& axis : asked)
    if (gen.chance(30)) axis -= rank;
  if (!asked.empty() && gen.chance(5)) {
    asked[0] = static_cast<int>(gen.pick({rank, -rank - 1, INT32_MAX, INT32_MIN}));
    c.invalid = "an axis is out of range";
  } else if (!transpose && rank > 1 && gen.chance(4)) {
    asked[0] = asked[1];
    c.invalid = "an axis is named twice";
  } else if (!transpose && gen.chance(3)) {
    asked.push_back(0);
    c.invalid = "too many axes";
  }
  c.args = fmt::format(R"("axes": [{}])", fmt::join(asked, ", "));
  damage(c, gen, Damage::undefined);
  c.run = [=](const std::vector<Tensor>& in) {
    return transpose ? in[0].transpose(asked[0], asked[1]) : in[0].permute(asked);
  };
  Sizes result(from.size());
  for (std::size_t d = 0; d < axes.size(); ++d) result[d] = from[static_cast<std::size_t>(axes[d])];
  if (c.invalid.empty()) moves_elements(c, reference::permute_map(from, axes), result);
  check(c, gen);
}

void slice_case(Gen& gen) {
  OpCase c;
  c.op = "slice";
  const int rank = static_cast<int>(gen.integer(1, 4));
  const Sizes from = gen.shape(rank);
  c.inputs = {gen.operand(from)};
  int axis = static_cast<int>(gen.integer(0, rank - 1));
  const Index n = from[static_cast<std::size_t>(axis)];
  const Index first = gen.integer(0, n), last = gen.integer(first, n);
  Index step = gen.chance(10) ? gen.huge() : gen.integer(1, 4);
  Index start = first, end = last;
  if (gen.chance(25) && first < n) start -= n;
  if (gen.chance(25) && last < n) end -= n;
  const Index kind = gen.integer(0, 40);
  if (kind == 0) step = gen.pick({0, -1, INT64_MIN});
  if (kind == 1) end = gen.pick({n + 1, INT64_MAX});
  if (kind == 2) start = gen.pick({-n - 1, INT64_MIN});
  if (kind <= 2) c.invalid = "bounds or step are out of range";
  if (kind == 1 || kind == 2 || step > 4) c.torch_has_it = false;  // it clamps bounds, and strides wrap
  const Index count = step < 1 ? 0 : (last - first) / step + ((last - first) % step != 0);
  const int asked_axis = gen.chance(30) ? axis - rank : axis;
  c.args = fmt::format(R"("axis": {}, "start": {}, "end": {}, "step": {})", asked_axis, start, end, step);
  damage(c, gen, Damage::undefined);
  c.run = [=](const std::vector<Tensor>& in) { return in[0].slice(asked_axis, start, end, step); };
  Sizes result = from;
  result[static_cast<std::size_t>(axis)] = count;
  if (c.invalid.empty())
    moves_elements(c, reference::slice_map(from, axis, first, count > 1 ? step : 0, count), result);
  check(c, gen);
}

void broadcast_case(Gen& gen) {
  OpCase c;
  c.op = "broadcast_to";
  Sizes result = gen.shape(static_cast<int>(gen.integer(0, 5)));
  Sizes from(result.begin() + gen.integer(0, static_cast<Index>(result.size())), result.end());
  for (Index& size : from)
    if (gen.chance(35)) size = 1;
  c.inputs = {gen.operand(from)};
  if (gen.chance(6)) {
    const Index kind = gen.integer(0, 2);
    if (kind == 0) result = {-1, 3};
    if (kind == 1) result = {gen.huge(), gen.huge(), 2};
    if (kind == 2) result = from.empty() ? Sizes{-2} : Sizes{from.back() + 2};
    c.invalid = "x does not broadcast to that";
    c.torch_has_it = kind != 0;  // there -1 keeps the size
    if (kind == 2 && !from.empty() && from.back() == 1 && from.size() == 1) c.invalid = "";
  }
  c.args = fmt::format(R"("shape": {})", str(result));
  c.also_named = {"shape"};
  damage(c, gen, Damage::undefined);
  c.run = [=](const std::vector<Tensor>& in) { return in[0].broadcast_to(to_shape(result)); };
  if (c.invalid.empty()) moves_elements(c, reference::broadcast_map(from, result), result);
  check(c, gen);
}

void copies_case(Gen& gen) {
  OpCase c;
  const Sizes from = gen.shape(static_cast<int>(gen.integer(0, 5)));
  c.inputs = {gen.operand(from)};
  c.torch_has_it = false;
  const Index kind = gen.integer(0, 4);
  c.op = kind == 0 ? "contiguous" : kind == 1 ? "clone" : "to";
  DType dtype = DType::f32;
  if (kind == 3) dtype = DType::f64;
  if (kind == 2 || kind == 3) c.y_dtype = dtype;
  c.args = fmt::format(R"("kind": {})", kind);
  if (kind == 4) {
    c.op = "detach";
    c.inputs[0].gradient = false;
  }
  damage(c, gen, Damage::undefined);
  c.run = [=](const std::vector<Tensor>& in) {
    const Tensor& x = in[0];
    switch (kind) {
      case 0:
        return x.contiguous();
      case 1:
        return x.clone();
      case 2:
      case 3:
        return x.to(dtype);
      default:
        return x.detach();
    }
  };
  moves_elements(c, identity(reference::numel(from)), from);
  check(c, gen);
}

}  // namespace

void add_views(std::vector<Property>& all) {
  all.insert(all.end(), {{"reshape", reshape_case},
                         {"permute", permute_case},
                         {"slice", slice_case},
                         {"broadcast_to", broadcast_case},
                         {"copies", copies_case}});
}

}  // namespace evenkeel::property
