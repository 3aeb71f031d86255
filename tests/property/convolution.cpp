// conv2d.
#include <algorithm>

#include "evenkeel/nn/functional.h"
#include "property/families.h"
#include "reference/conv2d.h"

namespace evenkeel::property {
namespace {

struct Geometry {
  Sizes x, weight;
  Size2d stride = 1, padding = 0, dilation = 1;
  Index groups = 1;
};

Index work(const Geometry& g) {
  Index n = 1;
  for (Index size : {g.x[0], g.x[2] + 2 * g.padding.h, g.x[3] + 2 * g.padding.w, g.weight[0], g.weight[1],
                     g.weight[2], g.weight[3]})
    n *= std::max<Index>(size, 1);
  return n;
}

/// A convolution of a size that the reference does in a few milliseconds.
Geometry draw(Gen& gen) {
  const Index most = gen.seed() < 10 ? 3000 : 60000;
  for (;;) {
    Geometry g;
    g.groups = gen.chance(75) ? 1 : gen.integer(2, 4);
    const Index per_group = gen.chance(4) ? 0 : gen.chance(70) ? gen.integer(1, 4) : gen.integer(5, 17);
    const Index filters = g.groups * (gen.chance(70) ? gen.integer(1, 4) : gen.integer(5, 17));
    const Index R = gen.chance(80) ? gen.integer(1, 3) : gen.integer(4, 7),
                S = gen.chance(70) ? R : gen.integer(1, 5);
    g.x = {gen.size(), per_group * g.groups, gen.size(gen.chance(20)), gen.size(gen.chance(20))};
    g.weight = {filters, per_group, R, S};
    if (gen.chance(40)) g.stride = {gen.integer(1, 3), gen.integer(1, 3)};
    if (gen.chance(50)) g.padding = {gen.integer(0, 3), gen.integer(0, 3)};
    if (gen.chance(20)) g.dilation = {gen.integer(1, 3), gen.integer(1, 3)};
    if (work(g) <= most) return g;
  }
}

/// Why PyTorch refuses it, or nothing.
std::string refused(const Geometry& g) {
  for (Size2d both : {g.stride, g.dilation})
    if (both.h < 1 || both.w < 1) return "stride and dilation must be at least 1";
  if (g.padding.h < 0 || g.padding.w < 0 || g.groups < 1) return "padding or groups are negative";
  if (g.weight[2] < 1 || g.weight[3] < 1) return "the kernel is empty";
  long double channels = static_cast<long double>(g.weight[1]) * g.groups;
  if (channels != g.x[1] || g.weight[0] % g.groups != 0) return "the channels do not fit";
  for (int d = 0; d < 2; ++d) {
    const auto pick = [d](Size2d s) { return d == 0 ? s.h : s.w; };
    const long double padded = static_cast<long double>(g.x[2 + static_cast<std::size_t>(d)]) +
                               2 * static_cast<long double>(pick(g.padding));
    const long double taps =
        static_cast<long double>(pick(g.dilation)) * (g.weight[2 + static_cast<std::size_t>(d)] - 1) + 1;
    if (padded < taps) return "the kernel is larger than the padded input";
    if (padded > 0x1p40L) return "the output would be too large";
  }
  return "";
}

/// Makes one number huge, zero or negative.
void spoil(Geometry& g, Gen& gen) {
  const Index value = gen.chance(60) ? gen.huge() : gen.pick({0, -1, INT64_MIN});
  const bool h = gen.chance(50);
  switch (gen.integer(0, 4)) {
    case 0:
      (h ? g.stride.h : g.stride.w) = value;
      break;
    case 1:
      (h ? g.dilation.h : g.dilation.w) = value;
      break;
    case 2:
      (h ? g.padding.h : g.padding.w) = value != 0 ? value : -1;
      break;
    case 3:
      g.groups = g.x[1] == 0 ? 0 : value;
      break;
    default:
      g.weight[static_cast<std::size_t>(gen.integer(0, 3))] += 1;
      break;
  }
}

void conv2d_case(Gen& gen) {
  OpCase c;
  c.op = "conv2d";
  Geometry g = draw(gen);
  if (gen.chance(12)) {
    spoil(g, gen);
    c.torch_has_it = false;  // it lets some of these sizes wrap
  }
  if (g.x[1] == 0) c.torch_has_it = false;  // there y has no channels either
  const bool has_bias = gen.chance(60);
  c.inputs = {gen.operand(g.x), gen.parameter(g.weight),
              has_bias ? gen.parameter({g.weight[0]}) : Gen::undefined()};
  c.args =
      fmt::format(R"("stride": [{}, {}], "padding": [{}, {}], "dilation": [{}, {}], "groups": {})",
                  g.stride.h, g.stride.w, g.padding.h, g.padding.w, g.dilation.h, g.dilation.w, g.groups);
  c.invalid = refused(g);
  c.also_named = {"too many elements", "out of memory"};
  // What PyTorch's primitives do not take: such strides, and images without pixels that padding makes large
  // enough.
  c.may_refuse = std::max(g.stride.h, g.stride.w) > INT32_MAX || g.x[2] * g.x[3] == 0;
  damage(c, gen, Damage::any, 2);
  const ConvOptions options{g.stride, g.padding, g.dilation, g.groups};
  c.run = [=](const std::vector<Tensor>& in) { return conv2d(in[0], in[1], in[2], options); };
  // A stride past the input and the dilation of one tap change nothing.
  const auto limited = [](Index value) { return std::clamp<Index>(value, -1000, 1000); };
  const reference::Conv2d how{limited(g.stride.h),  limited(g.stride.w),   limited(g.padding.h),
                              limited(g.padding.w), limited(g.dilation.h), limited(g.dilation.w),
                              limited(g.groups)};
  const Array none({g.weight[0]});
  c.forward = [=](const std::vector<Array>& in) {
    return reference::conv2d(in[0], in[1], has_bias ? in[2] : none, how);
  };
  c.backward = [=](const Array& dy, const std::vector<Array>& in) {
    const reference::Conv2dGradients d = reference::conv2d_backward(dy, in[0], in[1], how);
    return std::vector<Array>{d.dx, d.dweight, d.dbias};
  };
  c.is_sum_of_products = true;
  check(c, gen);
}

}  // namespace

void add_convolution(std::vector<Property>& all) { all.push_back({"conv2d", conv2d_case}); }

}  // namespace evenkeel::property
