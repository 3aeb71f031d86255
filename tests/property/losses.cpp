// log_softmax, nll_loss, cross_entropy, add_classification_totals.
#include <algorithm>
#include <cmath>

#include "evenkeel/nn/functional.h"
#include "property/families.h"
#include "reference/simple.h"
#include "reference/tensor_ops.h"

namespace evenkeel::property {
namespace {

/// x with axis `axis` last, as rows of D.
struct Rows {
  reference::Map map;
  Sizes shape, moved;
  Index D;
  Rows(const Sizes& x, int axis) : shape(x), D(x[static_cast<std::size_t>(axis)]) {
    std::vector<int> axes;
    for (int d = 0; d < static_cast<int>(x.size()); ++d)
      if (d != axis) axes.push_back(d);
    axes.push_back(axis);
    map = reference::permute_map(x, axes);
    Index n = reference::numel(x);
    moved = {D > 0 ? n / D : 0, D};
  }
  Array to_rows(const Array& x) const { return reference::gather(x, map, moved); }
  Array from_rows(const Array& y) const { return reference::scatter_add(y, map, shape); }
};

void log_softmax_case(Gen& gen) {
  OpCase c;
  c.op = "log_softmax";
  const int rank = static_cast<int>(gen.integer(1, 4));
  const Sizes shape = gen.shape(rank);
  c.inputs = {gen.operand(shape)};
  int axis = static_cast<int>(gen.integer(-rank, rank - 1));
  const int positive = axis < 0 ? axis + rank : axis;
  if (gen.chance(5)) {
    axis = static_cast<int>(gen.pick({rank, -rank - 1, INT32_MAX, INT32_MIN}));
    c.invalid = "the axis is out of range";
  }
  c.args = fmt::format(R"("axis": {})", axis);
  damage(c, gen, Damage::undefined);
  c.run = [=](const std::vector<Tensor>& in) { return log_softmax(in[0], axis); };
  const Rows rows(shape, positive);
  c.forward = [=](const std::vector<Array>& in) {
    return rows.from_rows(reference::log_softmax(rows.to_rows(in[0])));
  };
  c.backward = [=](const Array& dy, const std::vector<Array>& in) {
    return std::vector<Array>{
        rows.from_rows(reference::log_softmax_backward(rows.to_rows(dy), rows.to_rows(in[0])))};
  };
  c.scale = [=](const std::vector<Array>& in, const Array& y, const Array& dy) {
    return std::vector<double>{largest_finite(y) + largest_finite(in[0]),
                               largest_finite(dy) * static_cast<double>(std::max<Index>(rows.D, 1))};
  };
  check(c, gen);
}

std::vector<Index> as_targets(const Operand& labels) {
  std::vector<Index> target;
  for (double value : labels.values.values) target.push_back(static_cast<Index>(value));
  return target;
}

void loss_case(bool with_softmax, Gen& gen) {
  OpCase c;
  c.op = "nll_loss";
  const Index N = gen.size(), classes = gen.size();
  const auto reduction = static_cast<Reduction>(gen.integer(0, 2));
  Sizes shape{N, classes};
  Index labels = N;
  if (gen.chance(3)) {
    labels += 1;
    c.invalid = "there are more labels than rows";
  } else if (gen.chance(2)) {
    shape = {classes};
    c.invalid = "x has one axis";
    c.torch_has_it = false;  // it takes one row
  }
  c.inputs = {gen.operand(shape), gen.labels(labels, classes)};
  if (N > 0 && classes == 0) c.invalid = "there is no class";
  if (N > 0 && c.invalid.empty() && gen.chance(6) && gen.device().is_cpu()) {
    Operand& target = c.inputs[1];
    target.layout.repeated = {false};
    target.values.values[gen.integer(0, N - 1)] =
        static_cast<double>(gen.pick({classes, -1, -100, Index{1} << 40}));
    c.invalid = "a label is out of range";
    if ((target.values.values == -100).any()) c.torch_has_it = false;  // it ignores them
  }
  c.args = fmt::format(R"("reduction": {}, "softmax": {})", static_cast<int>(reduction), with_softmax);
  if (with_softmax) c.op = "cross_entropy";
  c.also_named = {"nll_loss"};
  damage(c, gen, Damage::undefined);
  c.run = [=](const std::vector<Tensor>& in) {
    return with_softmax ? cross_entropy(in[0], in[1], reduction) : nll_loss(in[0], in[1], reduction);
  };
  if (!c.invalid.empty()) return check(c, gen);
  const std::vector<Index> target = as_targets(c.inputs[1]);
  const double factor = reduction == Reduction::mean ? 1 / static_cast<double>(N) : 1;
  c.forward = [=](const std::vector<Array>& in) {
    const Array loss = reference::nll(with_softmax ? reference::log_softmax(in[0]) : in[0], target);
    if (reduction == Reduction::none) return loss;
    Array y{Sizes{}};
    for (double value : loss.values) y.values[0] += value;
    y.values *= factor;  // the mean of nothing is NaN, as in PyTorch
    return y;
  };
  c.backward = [=](const Array& dy, const std::vector<Array>& in) {
    Array each({N});
    for (Index i = 0; i < N; ++i)
      each.values[i] = reduction == Reduction::none ? dy.values[i] : dy.values[0] * factor;
    Array dx = reference::nll_backward(each, in[0], target);
    if (with_softmax) dx = reference::log_softmax_backward(dx, in[0]);
    return std::vector<Array>{dx, Array()};
  };
  c.scale = [=](const std::vector<Array>& in, const Array& y, const Array& dy) {
    const double x = largest_finite(in[0]) + (with_softmax ? 10 : 0);
    return std::vector<double>{
        largest_finite(y) + x * (reduction == Reduction::sum ? static_cast<double>(N) : 1),
        largest_finite(dy), 0};
  };
  check(c, gen);
}

/// totals += {N mean_loss, correct}: totals laid out anyhow, or refused before anything is written.
void totals_case(Gen& gen) {
  const Index N = gen.integer(1, 20), classes = gen.integer(1, 12);
  Operand x = gen.operand({N, classes}, false), target = gen.labels(N, classes),
          loss = gen.operand({}, false);
  Operand totals = gen.operand({2}, false);
  x.gradient = loss.gradient = totals.gradient = false;
  const Array largest = reference::argmax(x.values, 1);
  Array expected = totals.values;
  expected.values[0] += static_cast<double>(N) * loss.values.values[0];
  for (Index i = 0; i < N; ++i) expected.values[1] += largest.values[i] == target.values.values[i];
  for (DType dtype : {DType::f32, DType::f64}) {
    Tensor t = make_tensor(totals, DType::f64, gen.device());
    const Snapshot before(t);
    const auto run = [&] {
      add_classification_totals(t, make_tensor(x, dtype, gen.device()),
                                make_tensor(target, dtype, gen.device()),
                                make_tensor(loss, dtype, gen.device()));
    };
    if (overlaps_itself(totals)) {
      must_refuse("add_classification_totals", "the totals share memory", run);
      before.must_be_unchanged("totals, though refused,");
      continue;
    }
    run();
    before.must_be_unchanged("memory beside totals", t);
    must_equal(fmt::format("totals ({})", describe(totals)), t, expected);
  }
}

}  // namespace

void add_losses(std::vector<Property>& all) {
  all.insert(all.end(), {{"log_softmax", log_softmax_case},
                         {"nll_loss", [](Gen& g) { loss_case(false, g); }},
                         {"cross_entropy", [](Gen& g) { loss_case(true, g); }},
                         {"add_classification_totals", totals_case}});
}

}  // namespace evenkeel::property
