// matmul and linear.
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/functional.h"
#include "property/families.h"
#include "reference/simple.h"
#include "reference/tensor_ops.h"

namespace evenkeel::property {
namespace {

void matmul_case(Gen& gen) {
  OpCase c;
  c.op = "matmul";
  const Index batch = gen.size(), M = gen.size(), K = gen.size(), N = gen.size();
  const bool batched = gen.chance(40);
  Sizes a{M, K}, b{K, N};
  if (batched) {
    const Index B = std::min<Index>(batch, 5);
    a.insert(a.begin(), B);
    b.insert(b.begin(), B);
  }
  if (gen.chance(6)) {
    (gen.chance(50) ? a
                    : b)[static_cast<std::size_t>(batched) + static_cast<std::size_t>(gen.integer(0, 1))] +=
        1;
    if (a[a.size() - 1] != b[b.size() - 2]) c.invalid = "K differs";
  } else if (batched && gen.chance(4)) {
    b[0] += 1;
    c.invalid = "the batches differ";
    c.torch_has_it = a[0] != 1;  // there a batch of one broadcasts
  }
  c.inputs = {gen.operand(a), gen.operand(b)};
  damage(c, gen, Damage::any);
  c.run = [](const std::vector<Tensor>& in) { return matmul(in[0], in[1]); };
  c.forward = [](const std::vector<Array>& in) { return reference::matmul(in[0], in[1]); };
  c.backward = [](const Array& dy, const std::vector<Array>& in) {
    return std::vector<Array>{reference::matmul(dy, reference::transposed(in[1])),
                              reference::matmul(reference::transposed(in[0]), dy)};
  };
  c.is_sum_of_products = true;
  check(c, gen);
}

/// The axes before the last as one.
Array rows(const Array& x, Index last) {
  Array y = x;
  Index n = 1;
  for (std::size_t d = 0; d + 1 < x.shape.size(); ++d) n *= x.shape[d];
  y.shape = {n, last};
  return y;
}

void linear_case(Gen& gen) {
  OpCase c;
  c.op = "linear";
  Sizes shape = gen.shape(static_cast<int>(gen.integer(1, 4)));
  const Index in_features = shape.back(), out_features = gen.size();
  Sizes weight{out_features, in_features};
  const bool has_bias = gen.chance(70);
  Sizes bias{out_features};
  const Index wrong = gen.integer(0, 60);
  if (wrong == 0) weight[1] += 1;
  if (wrong == 1 && out_features != 0) bias[0] += 1;
  if (wrong == 2) weight.insert(weight.begin(), 1);
  if (wrong == 0 || wrong == 2 || (wrong == 1 && has_bias && out_features != 0))
    c.invalid = "the shapes do not fit";
  if (wrong == 1) c.torch_has_it = false;  // there a bias broadcasts
  c.inputs = {gen.operand(shape), gen.parameter(weight), has_bias ? gen.parameter(bias) : Gen::undefined()};
  damage(c, gen, Damage::any, 2);
  c.run = [](const std::vector<Tensor>& in) { return linear(in[0], in[1], in[2]); };
  Sizes result = shape;
  result.back() = out_features;
  c.forward = [=](const std::vector<Array>& in) {
    Array y = reference::linear(rows(in[0], in_features), in[1], has_bias ? in[2] : Array({out_features}));
    y.shape = result;
    return y;
  };
  c.backward = [=](const Array& dy, const std::vector<Array>& in) {
    reference::LinearGradients g =
        reference::linear_backward(rows(dy, out_features), rows(in[0], in_features), in[1]);
    g.dx.shape = shape;
    return std::vector<Array>{g.dx, g.dweight, g.dbias};
  };
  c.is_sum_of_products = true;
  check(c, gen);
}

}  // namespace

void add_products(std::vector<Property>& all) {
  all.insert(all.end(), {{"matmul", matmul_case}, {"linear", linear_case}});
}

}  // namespace evenkeel::property
