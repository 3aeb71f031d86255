// max_pool2d, avg_pool2d, global_avg_pool2d.
#include <algorithm>
#include <cmath>

#include "evenkeel/nn/functional.h"
#include "property/families.h"
#include "reference/pool2d.h"
#include "reference/tensor_ops.h"

namespace evenkeel::property {
namespace {

struct Geometry {
  Size2d kernel = 1, stride = 0, padding = 0;
};

Geometry draw(Gen& gen) {
  Geometry g;
  g.kernel = gen.chance(70) ? Size2d(gen.integer(1, 4)) : Size2d(gen.integer(1, 5), gen.integer(1, 5));
  if (gen.chance(65))
    g.stride = gen.chance(60) ? Size2d(gen.integer(1, 3)) : Size2d(gen.integer(1, 3), gen.integer(1, 3));
  if (gen.chance(50)) g.padding = {gen.integer(0, g.kernel.h / 2), gen.integer(0, g.kernel.w / 2)};
  return g;
}

void spoil(Geometry& g, Gen& gen) {
  const Index value = gen.chance(60) ? gen.huge() : gen.pick({-1, INT64_MIN});
  const bool h = gen.chance(50);
  switch (gen.integer(0, 3)) {
    case 0:
      (h ? g.kernel.h : g.kernel.w) = value;
      break;
    case 1:
      g.stride = h ? Size2d(value, 1) : Size2d(1, value);
      break;
    case 2:
      (h ? g.padding.h : g.padding.w) = value;
      break;
    default:
      g.kernel = INT64_MAX;
      g.padding = INT64_MAX / 2;
      break;
  }
}

std::string refused(const Sizes& x, const Geometry& g) {
  if (x.size() != 3 && x.size() != 4) return "x needs 3 or 4 axes";
  if (g.kernel.h < 1 || g.kernel.w < 1 || g.stride.h < 0 || g.stride.w < 0)
    return "kernel or stride is not positive";
  if ((g.stride.h == 0) != (g.stride.w == 0)) return "a stride is 0";
  if (g.kernel.h > INT32_MAX || g.kernel.w > INT32_MAX) return "the kernel is huge";
  if (g.padding.h < 0 || g.padding.w < 0 || g.padding.h > g.kernel.h / 2 || g.padding.w > g.kernel.w / 2)
    return "padding is more than half the kernel";
  const Index H = x[x.size() - 2], W = x[x.size() - 1];
  if (H == 0 || W == 0) return "the planes are empty";
  if (H + 2 * g.padding.h < g.kernel.h || W + 2 * g.padding.w < g.kernel.w)
    return "the kernel is larger than the padded input";
  return "";
}

/// [C, H, W] is one image.
Array as_images(Array x) {
  if (x.shape.size() == 3) x.shape.insert(x.shape.begin(), 1);
  return x;
}

void pool_case(bool is_max, Gen& gen) {
  OpCase c;
  c.op = is_max ? "max_pool2d" : "avg_pool2d";
  const int rank = gen.chance(80) ? 4 : gen.chance(80) ? 3 : static_cast<int>(gen.integer(1, 5));
  Sizes shape = gen.shape(rank);
  Geometry g = draw(gen);
  if (rank == 4 && gen.chance(35)) {  // a whole number of windows in each direction, before padding
    shape = {gen.pick({1, 2, 9}), gen.integer(1, 2), g.kernel.h * gen.integer(1, 3),
             g.kernel.w * gen.integer(1, 3)};
    g.stride = gen.chance(50) ? Size2d(0) : g.kernel;
  }
  if (gen.chance(10)) {
    spoil(g, gen);
    c.torch_has_it = false;
  }
  c.inputs = {gen.operand(shape)};
  c.args = fmt::format(R"("kernel": [{}, {}], "stride": [{}, {}], "padding": [{}, {}])", g.kernel.h,
                       g.kernel.w, g.stride.h, g.stride.w, g.padding.h, g.padding.w);
  c.invalid = refused(shape, g);
  // PyTorch wants channels, and strides of 32 bits.
  if (c.invalid.empty())
    c.may_refuse = (reference::numel(shape) == 0 && (shape[0] != 0 || rank == 3)) ||
                   std::max(g.stride.h, g.stride.w) > INT32_MAX;
  damage(c, gen, Damage::undefined);
  c.run = [=](const std::vector<Tensor>& in) {
    const PoolOptions options{g.stride, g.padding};
    return is_max ? max_pool2d(in[0], g.kernel, options) : avg_pool2d(in[0], g.kernel, options);
  };
  const Size2d stride = g.stride == Size2d(0) ? g.kernel : g.stride;
  const reference::Pool2d how{
      g.kernel.h,  g.kernel.w, std::min<Index>(stride.h, 1000), std::min<Index>(stride.w, 1000),
      g.padding.h, g.padding.w};
  c.forward = [=](const std::vector<Array>& in) {
    const Array x = as_images(in[0]);
    Array y = is_max ? reference::max_pool2d(x, how) : reference::avg_pool2d(x, how);
    if (rank == 3) y.shape.erase(y.shape.begin());
    return y;
  };
  c.backward = [=](const Array& dy, const std::vector<Array>& in) {
    Array dx = is_max ? reference::max_pool2d_backward(as_images(dy), as_images(in[0]), how)
                      : reference::avg_pool2d_backward(as_images(dy), as_images(in[0]), how);
    dx.shape = in[0].shape;
    return std::vector<Array>{dx};
  };
  c.is_sum_of_products = true;
  if (is_max) {  // absolute values have other maxima, and what is summed is dy
    c.scale = [](const std::vector<Array>&, const Array& y, const Array& dy) {
      return std::vector<double>{largest_finite(y), 25 * largest_finite(dy)};
    };
  }
  check(c, gen);
}

void global_case(Gen& gen) {
  OpCase c;
  c.op = "global_avg_pool2d";
  const int rank = gen.chance(90) ? 4 : static_cast<int>(gen.integer(1, 5));
  const Sizes shape = gen.shape(rank);
  c.inputs = {gen.operand(shape)};
  c.torch_has_it = false;
  if (rank != 4) c.invalid = "x needs 4 axes";
  if (rank == 4 && reference::numel(shape) == 0)
    c.may_refuse = shape[0] != 0;  // the mean of no pixels is NaN
  damage(c, gen, Damage::undefined);
  c.run = [](const std::vector<Tensor>& in) { return global_avg_pool2d(in[0]); };
  c.forward = [=](const std::vector<Array>& in) {
    return reference::avg_pool2d(in[0], {shape[2], shape[3], 1, 1});
  };
  c.backward = [=](const Array& dy, const std::vector<Array>& in) {
    return std::vector<Array>{reference::avg_pool2d_backward(dy, in[0], {shape[2], shape[3], 1, 1})};
  };
  c.is_sum_of_products = true;
  check(c, gen);
}

}  // namespace

void add_pooling(std::vector<Property>& all) {
  all.insert(all.end(), {{"max_pool2d", [](Gen& g) { pool_case(true, g); }},
                         {"avg_pool2d", [](Gen& g) { pool_case(false, g); }},
                         {"global_avg_pool2d", global_case}});
}

}  // namespace evenkeel::property
