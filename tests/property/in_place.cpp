// fill_, copy_, add_ on views, on targets that overlap themselves or their source, and set_data.
#include <cmath>

#include "evenkeel/core/autograd.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/core/tensor.h"
#include "property/families.h"
#include "reference/tensor_ops.h"

namespace evenkeel::property {
namespace {

enum class Change { fill, copy, add };
const char* const kNames[] = {"fill_", "copy_", "add_"};
const std::string kDoesNotBroadcast = "the source does not broadcast to the target";
const std::string kUndefined = "the source is undefined";

struct InPlace {
  Change change;
  Operand target, source;
  double number = 0;
  std::string invalid;
  bool may_refuse = false;
  Array expected;
};

Array after(const InPlace& p) {
  Array y = p.target.values;
  if (p.change == Change::fill) {
    y.values = p.number;
    return y;
  }
  const Array source =
      reference::gather(p.source.values, reference::broadcast_map(p.source.values.shape, y.shape), y.shape);
  if (p.change == Change::copy) return source;
  y.values += p.number * source.values;
  return y;
}

void apply(const InPlace& p, Tensor& target, const Tensor& source) {
  if (p.change == Change::fill) target.fill_(p.number);
  if (p.change == Change::copy) target.copy_(source);
  if (p.change == Change::add) target.add_(source, p.number);
}

void run_in(const InPlace& p, DType dtype, Device device) {
  Tensor target = make_tensor(p.target, dtype, device);
  const Tensor source = make_tensor(p.source, dtype, device);
  const Snapshot before(target);
  const Array source_before = source.defined() ? to_array(source) : Array();
  const std::uint64_t version = target.storage().version();
  if (!p.invalid.empty()) {
    const bool by_shape = p.invalid == kDoesNotBroadcast || p.invalid == kUndefined;
    must_refuse(by_shape ? "" : kNames[static_cast<int>(p.change)], p.invalid,
                [&] { apply(p, target, source); });
    before.must_be_unchanged("the target, though refused,");
    return;
  }
  try {
    apply(p, target, source);
  } catch (const Error&) {
    if (!p.may_refuse) throw;
    return before.must_be_unchanged("the target, though refused,");
  }
  before.must_be_unchanged("memory beside the target", target);
  must_equal("the target", target, p.expected,
             largest_finite(p.expected) + largest_finite(p.target.values) +
                 std::abs(p.number) * largest_finite(p.source.values));
  if (source.defined()) must_equal("the source", source, source_before);
  if (target.storage().version() == version && target.numel() > 0) fail_case("the change was not counted");
}

/// The target and its own transposed, reversed in step or shifted elements as the source.
void overlapping(Change change, Gen& gen) {
  const Index n = gen.integer(2, 9);
  const double number = change == Change::add ? static_cast<float>(gen.uniform(-2, 2)) : 0;
  for (DType dtype : {DType::f64, DType::f32}) {
    Operand o = gen.operand({n, n}, false);
    o.gradient = false;
    o.layout.repeated = {false, false};
    const Tensor base = make_tensor(o, dtype, gen.device());
    const Index kind = gen.integer(0, 3);
    Tensor target = base.detach(), source = base.transpose(0, 1);
    if (kind == 1) {
      target = base.slice(0, 0, n - 1);
      source = base.slice(0, 1, n);
    } else if (kind == 2) {
      target = base.slice(0, 1, n);
      source = base.slice(0, 0, n - 1);
    } else if (kind == 3) {
      source = base.slice(1, 0, 1);
    }
    InPlace p{change, {}, {}, number, "", false, {}};
    p.target.values = to_array(target);
    p.source.values = to_array(source);
    p.expected = after(p);
    apply(p, target, source);
    must_equal(fmt::format("{} of overlapping memory, kind {}, {}", kNames[static_cast<int>(change)], kind,
                           describe(o)),
               target, p.expected, 10);
  }
}

void change_case(Change change, Gen& gen) {
  if (change != Change::fill && gen.chance(15)) return overlapping(change, gen);
  InPlace p;
  p.change = change;
  const Sizes shape = gen.shape(static_cast<int>(gen.integer(0, 5)));
  p.target = gen.operand(shape);
  p.target.gradient = false;
  if (change == Change::fill) {
    const Index kind = gen.integer(0, 9);
    p.number = kind == 0   ? NAN
               : kind == 1 ? -INFINITY
               : kind == 2 ? 0
                           : static_cast<float>(gen.uniform(-5, 5));
    p.source = Gen::undefined();
  } else {
    Sizes part = shape;
    if (gen.chance(30))
      part.erase(part.begin(), part.begin() + gen.integer(0, static_cast<Index>(part.size())));
    for (Index& size : part)
      if (gen.chance(12)) size = 1;
    if (gen.chance(5)) part.insert(part.begin(), 2);
    p.source = gen.operand(part);
    p.source.gradient = false;
    if (change == Change::add) p.number = gen.chance(50) ? 1 : static_cast<float>(gen.uniform(-3, 3));
    Sizes both;
    if (!reference::broadcast(part, shape, both) || both != shape) p.invalid = kDoesNotBroadcast;
    if (gen.chance(4)) {
      p.source = Gen::undefined();
      p.invalid = kUndefined;
    } else if (gen.chance(4)) {
      p.source.other_dtype = true;
      if (change == Change::add) p.invalid = "the dtypes differ";
    }
  }
  // PyTorch fills what shares a place; to refuse it is as good.
  p.may_refuse = change == Change::fill && overlaps_itself(p.target);
  if (overlaps_itself(p.target) && !p.may_refuse) p.invalid = "elements of the target share a place";
  if (p.invalid.empty() && gen.chance(5)) {
    p.target.gradient = true;
    p.invalid = "the target requires a gradient";
  }
  if (p.invalid.empty()) p.expected = after(p);
  for (DType dtype : {DType::f64, DType::f32}) {
    for (int poison : {0xff, 0x41}) {
      set_memory_poison(poison);
      try {
        run_in(p, dtype, gen.device());
      } catch (const Failure& failure) {
        fail_case(fmt::format("{}({}), target {}, source {}, in {}: {}", kNames[static_cast<int>(change)],
                              p.number, describe(p.target), describe(p.source), name_of(dtype),
                              failure.what()));
      }
    }
  }
}

/// A view shows what is written to its base, and backward refuses what changed since it was saved.
void shared_memory(Gen& gen) {
  const Index rows = gen.integer(1, 9), columns = gen.integer(2, 9), at = gen.integer(0, columns - 1);
  Operand o = gen.operand({rows, columns}, false);
  o.gradient = false;
  o.layout.repeated = {false, false};
  Tensor x = make_tensor(o, DType::f64, gen.device());
  Tensor column = x.slice(1, at, at + 1);
  column.fill_(123);
  Array expected = o.values;
  for (Index i = 0; i < rows; ++i) expected(i, at) = 123;
  must_equal("the base of a view that was filled", x, expected);

  Tensor leaf = make_tensor(o, DType::f64, gen.device()).requires_grad_();
  const Tensor y = leaf * leaf;
  {
    const NoGrad guard;
    Tensor part = leaf.detach().slice(1, at, at + 1);
    part.add_(part);
  }
  must_refuse("changed in place", "a saved tensor changed",
              [&] { y.backward(ones(y.shape(), y.options())); });

  Tensor handle = x;
  handle.set_data(zeros({2, 2}, x.options()));
  if (x.shape() != Shape{2, 2}) fail_case("set_data changed one handle only");
}

}  // namespace

void add_in_place(std::vector<Property>& all) {
  all.insert(all.end(), {{"fill_", [](Gen& g) { change_case(Change::fill, g); }},
                         {"copy_", [](Gen& g) { change_case(Change::copy, g); }},
                         {"add_", [](Gen& g) { change_case(Change::add, g); }},
                         {"shared_memory", shared_memory}});
}

}  // namespace evenkeel::property
