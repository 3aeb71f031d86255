// Rows of relu and dropout.
#include "bench/op_rows.h"
#include "evenkeel/kernels/dropout.h"
#include "evenkeel/kernels/relu.h"
#include "reference/simple.h"

namespace evenkeel::bench {
namespace {

constexpr double kDropped = 0.1;
constexpr RandomKey kDropoutKey{1, RandomPurpose::dropout, 1};

std::vector<Row> relu(const Kind& kind, const Shape& x) {
  Row forward = make_row("relu", "forward", x, kind, 1);
  forward.operands = {{"x", Role::input, x, kind.dtype, normal()}, {"y", Role::output, x, kind.dtype, {}}};
  forward.bind = bind_for(kind.dtype, [=]<typename T>(DeviceArrays& a) {
    const ReluForwardArgs<T> args{.y = a.out<T>("y"), .x = a.in<T>("x"), .n = x.numel()};
    return launch<cpu::relu_forward<T>, cuda::relu_forward<T>>("relu_forward", a, args);
  });
  forward.reference = [](const Values& in) {
    return std::map<std::string, Expected>{{"y", {reference::relu(in.at("x")), {}}}};
  };

  Row backward = make_row("relu", "backward", x, kind, 1);
  backward.operands = {{"x", Role::host, x, kind.dtype, normal()},
                       {"y", Role::input, x, kind.dtype,
                        derived([](const Values& in) { return reference::relu(in.at("x")); })},
                       {"dy", Role::input, x, kind.dtype, normal()},
                       {"dx", Role::output, x, kind.dtype, {}}};
  backward.bind = bind_for(kind.dtype, [=]<typename T>(DeviceArrays& a) {
    const ReluBackwardArgs<T> args{
        .dx = a.out<T>("dx"), .dy = a.in<T>("dy"), .y = a.in<T>("y"), .n = x.numel()};
    return launch<cpu::relu_backward<T>, cuda::relu_backward<T>>("relu_backward", a, args);
  });
  backward.reference = [](const Values& in) {
    return std::map<std::string, Expected>{{"dx", {reference::relu_backward(in.at("dy"), in.at("x")), {}}}};
  };
  return {forward, backward};
}

/// 1 where number i of the key is at least p.
Array mask(const reference::Sizes& shape) {
  Array kept(shape);
  for (reference::Index i = 0; i < kept.numel(); ++i) {
    const auto numbers = philox(kDropoutKey, static_cast<std::uint64_t>(i / 4));
    kept.values[i] = unit_interval(numbers[static_cast<std::size_t>(i % 4)]) >= static_cast<float>(kDropped);
  }
  return kept;
}

/// Backward is the same map.
std::vector<Row> dropout(const Kind& kind, const Shape& x) {
  Row row = make_row("dropout", "forward", x, kind, 2);
  row.parameters = {{"p", kDropped}};
  row.operands = {{"x", Role::input, x, kind.dtype, normal()}, {"y", Role::output, x, kind.dtype, {}}};
  row.bind = bind_for(kind.dtype, [=]<typename T>(DeviceArrays& a) {
    const DropoutArgs<T> args{
        .y = a.out<T>("y"), .x = a.in<T>("x"), .key = kDropoutKey, .p = kDropped, .n = x.numel()};
    return launch<cpu::dropout<T>, cuda::dropout<T>>("dropout", a, args);
  });
  row.reference = [](const Values& in) {
    const Array& values = in.at("x");
    return std::map<std::string, Expected>{
        {"y", {reference::dropout(values, mask(values.shape), kDropped), {}}}};
  };
  return {row};
}

}  // namespace

std::vector<Op> elementwise_ops() {
  return {op_at("relu", with(kBlockShapes, {kLargeShape}), relu),
          op_at("dropout", {{kBatch, 16, 10, 10}, {kBatch, 16, 8, 8}, kLargeShape}, dropout)};
}

}  // namespace evenkeel::bench
