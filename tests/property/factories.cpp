// Factories, accessors, and sizes that 64 bits or the memory do not hold.
#include <cmath>
#include <sstream>

#include "evenkeel/core/ops.h"
#include "evenkeel/core/random.h"
#include "property/families.h"
#include "reference/tensor_ops.h"

namespace evenkeel::property {
namespace {

DType any_dtype(Gen& gen) {
  static constexpr DType kAll[] = {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64, DType::u8};
  return kAll[gen.integer(0, 5)];
}

void factories_case(Gen& gen) {
  const Sizes sizes = gen.shape(static_cast<int>(gen.integer(0, 8)));
  const Shape shape = to_shape(sizes);
  const TensorOptions options{any_dtype(gen), gen.device()};
  const double value = static_cast<double>(gen.integer(0, 100));
  set_memory_poison(0xff);
  const Tensor x = full(shape, value, options);
  if (x.dtype() != options.dtype || !x.is_contiguous() || x.numel() != reference::numel(sizes))
    fail_case("full made another tensor");
  must_equal("full", x, Array(sizes, value));
  must_equal("zeros", zeros(shape, options), Array(sizes, 0));
  must_equal("ones", ones(shape, options), Array(sizes, 1));
  must_equal("zeros_like", zeros_like(x), Array(sizes, 0));
  if (empty_like(x).shape() != shape || empty(shape, options).dtype() != options.dtype)
    fail_case("empty made another tensor");
  const Index start = gen.integer(-100, 100), count = gen.size();
  Array counted({count});
  for (Index i = 0; i < count; ++i) counted.values[i] = static_cast<double>(start + i);
  must_equal("arange", arange(start, start + count, {DType::i64, gen.device()}), counted);
  std::ostringstream text;
  text << x;
  if (text.str().empty()) fail_case("an empty text was printed");
  if (x.numel() != 1) must_refuse("item", "there is not exactly one element", [&] { x.item(); });
  const int rank = x.rank();
  for (int axis : {rank, -rank - 1, INT32_MAX, INT32_MIN})
    must_refuse("size", "the axis is out of range", [&] { x.size(axis); });
  must_refuse("from_vector", "there are too many values", [&] {
    from_vector(std::vector<float>(static_cast<std::size_t>(x.numel() + 1)), shape, gen.device());
  });
}

/// Shapes that do not fit are refused by whatever makes a tensor of them.
void too_large(Gen& gen) {
  const Index n = gen.huge();
  Shape shape;
  const Index kind = gen.integer(0, 4);
  if (kind == 0) shape = {n};
  if (kind == 1) shape = {gen.integer(1, 5), n, 3};
  if (kind == 2) shape = {Index{1} << 32, Index{1} << 32};  // the product wraps to 0
  if (kind == 3) shape = {3, n, n, 2};
  if (kind == 4) shape = {gen.pick({-2, -3, INT64_MIN}), 3};
  const TensorOptions options{any_dtype(gen), gen.device()};
  // What the message must say: the sizes, as no op's name means more.
  const std::string why = "no memory of shape " + shape.str();
  must_refuse("", why, [&] { empty(shape, options); });
  must_refuse("", why, [&] { full(shape, 1, options); });
  must_refuse("", why, [&] { from_vector(std::vector<float>{}, shape, gen.device()); });
  must_refuse("", why, [&] { rand(shape, {DType::f32, gen.device()}); });
  must_refuse("", "that are too many", [&] { arange(-gen.integer(0, 5), n); });
  must_refuse("", "that are too many", [&] { arange(INT64_MIN, INT64_MAX - gen.integer(0, 9)); });
  must_refuse("arange", "the start is past the end", [&] { arange(5, 4); });
  must_refuse("shape", why, [&] { zeros({0}, options).reshape(shape); });
  must_refuse("broadcast_to", "the shapes do not fit", [&] { zeros({2}, options).broadcast_to({n, n, 3}); });

  // A view of one element needs no memory; whatever copies it does.
  const Tensor wide = ones({1}, {DType::f32, gen.device()}).broadcast_to({Index{1} << 46});
  if (wide.numel() != Index{1} << 46) fail_case("broadcast_to gave another number of elements");
  const std::string copy = "there is no memory for a copy";
  must_refuse("", copy, [&] { wide.contiguous(); });
  must_refuse("", copy, [&] { wide.clone(); });
  must_refuse("", copy, [&] { wide.to(DType::f64); });
  must_refuse("", copy, [&] { exp(wide); });
  must_refuse("", copy, [&] { wide + ones({1}, wide.options()); });
  must_refuse("", copy, [&] { matmul(wide.reshape({Index{1} << 46, 1}), ones({1, 2}, wide.options())); });
}

void undefined_tensors(Gen& gen) {
  const Tensor none, one = ones({1, 1}, {DType::f32, gen.device()});
  const std::string why = "a tensor is undefined";
  Tensor target = one.clone();
  must_refuse("undefined", why, [&] { target.copy_(none); });
  must_refuse("undefined", why, [&] { target.add_(none); });
  must_refuse("undefined", why, [&] { none.shape(); });
  must_refuse("undefined", why, [&] { Tensor().fill_(1); });
  must_refuse("undefined", why, [&] { none.to(DType::f64); });
  must_refuse("backward", why, [&] { none.backward(); });
  must_refuse("undefined", why, [&] { none.storage(); });
  must_refuse("undefined", why, [&] { none.device(); });
  must_refuse("undefined", why, [&] { target.set_data(none); });
  must_refuse("undefined", why, [&] { zeros_like(none); });
  must_refuse("undefined", why, [&] { scalar_like(1, none); });
  if (none.defined()) fail_case("an undefined tensor is defined");
}

}  // namespace

void add_factories(std::vector<Property>& all) {
  all.insert(all.end(),
             {{"factories", factories_case}, {"too_large", too_large}, {"undefined", undefined_tensors}});
}

}  // namespace evenkeel::property
