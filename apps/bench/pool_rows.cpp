// Rows of the poolings: windows side by side.
#include "bench/op_rows.h"
#include "evenkeel/kernels/pool2d.h"
#include "reference/pool2d.h"

namespace evenkeel::bench {
namespace {

struct Pool {
  Shape x;
  std::int64_t window;

  Shape y() const { return {x[0], x[1], x[2] / window, x[3] / window}; }
  Pool2dSizes sizes() const {
    return {.planes = x[0] * x[1],
            .H = x[2],
            .W = x[3],
            .R = window,
            .S = window,
            .P = y()[2],
            .Q = y()[3],
            .stride_h = window,
            .stride_w = window,
            .pad_h = 0,
            .pad_w = 0};
  }
  reference::Pool2d how() const { return {.R = window, .S = window, .stride_h = window, .stride_w = window}; }
};

Row pool_row(const char* op, const char* pass, const Pool& pool, const Kind& kind) {
  Row row = make_row(op, pass, pool.x, kind);
  row.variant = fmt::format("{0}x{0}", pool.window);
  row.parameters = {{"window", pool.window}};
  row.flops = static_cast<double>(pool.y().numel() * pool.window * pool.window);
  return row;
}

/// h*W + w of the maximum of each window.
Array index_of_max(const Pool& pool, const Array& x) {
  Array index(sizes_of(pool.y()));
  const reference::Index R = pool.window;
  for (reference::Index n = 0; n < index.size(0); ++n)
    for (reference::Index c = 0; c < index.size(1); ++c)
      for (reference::Index p = 0; p < index.size(2); ++p)
        for (reference::Index q = 0; q < index.size(3); ++q) {
          reference::Index h = p * R, w = q * R;
          for (reference::Index i = 0; i < R * R; ++i) {
            if (x(n, c, p * R + i / R, q * R + i % R) > x(n, c, h, w)) h = p * R + i / R, w = q * R + i % R;
          }
          index(n, c, p, q) = static_cast<double>(h * x.size(3) + w);
        }
  return index;
}

std::vector<Row> max_pool2d(const Pool& pool, const Kind& kind) {
  Row forward = pool_row("max_pool2d", "forward", pool, kind);
  forward.operands = {{"x", Role::input, pool.x, kind.dtype, normal()},
                      {"y", Role::output, pool.y(), kind.dtype, {}},
                      {"index", Role::output, pool.y(), DType::i64, {}}};
  forward.bind = bind_for(kind.dtype, [=]<typename T>(DeviceArrays& a) {
    const MaxPool2dForwardArgs<T> args{
        .y = a.out<T>("y"), .index = a.out<std::int64_t>("index"), .x = a.in<T>("x"), .sizes = pool.sizes()};
    return launch<cpu::max_pool2d_forward<T>, cuda::max_pool2d_forward<T>>("max_pool2d_forward", a, args);
  });
  forward.reference = [=](const Values& in) {
    return std::map<std::string, Expected>{{"y", {reference::max_pool2d(in.at("x"), pool.how()), {}}},
                                           {"index", {index_of_max(pool, in.at("x")), {}}}};
  };

  Row backward = pool_row("max_pool2d", "backward", pool, kind);
  backward.operands = {{"x", Role::host, pool.x, kind.dtype, normal()},
                       {"index", Role::input, pool.y(), DType::i64,
                        derived([=](const Values& in) { return index_of_max(pool, in.at("x")); })},
                       {"dy", Role::input, pool.y(), kind.dtype, normal()},
                       {"dx", Role::output, pool.x, kind.dtype, {}}};
  backward.bind = bind_for(kind.dtype, [=]<typename T>(DeviceArrays& a) {
    const MaxPool2dBackwardArgs<T> args{.dx = a.out<T>("dx"),
                                        .dy = a.in<T>("dy"),
                                        .index = a.in<std::int64_t>("index"),
                                        .sizes = pool.sizes()};
    return launch<cpu::max_pool2d_backward<T>, cuda::max_pool2d_backward<T>>("max_pool2d_backward", a, args);
  });
  backward.reference = [=](const Values& in) {
    return std::map<std::string, Expected>{
        {"dx", {reference::max_pool2d_backward(in.at("dy"), in.at("x"), pool.how()), {}}}};
  };
  return {forward, backward};
}

std::vector<Row> avg_pool2d(const Pool& pool, const Kind& kind) {
  Row forward = pool_row("avg_pool2d", "forward", pool, kind);
  forward.operands = {{"x", Role::input, pool.x, kind.dtype, normal()},
                      {"y", Role::output, pool.y(), kind.dtype, {}}};
  forward.bind = bind_for(kind.dtype, [=]<typename T>(DeviceArrays& a) {
    const AvgPool2dForwardArgs<T> args{.y = a.out<T>("y"), .x = a.in<T>("x"), .sizes = pool.sizes()};
    return launch<cpu::avg_pool2d_forward<T>, cuda::avg_pool2d_forward<T>>("avg_pool2d_forward", a, args);
  });
  forward.reference = [=](const Values& in) {
    return std::map<std::string, Expected>{{"y", {reference::avg_pool2d(in.at("x"), pool.how()), {}}}};
  };

  Row backward = pool_row("avg_pool2d", "backward", pool, kind);
  backward.operands = {{"dy", Role::input, pool.y(), kind.dtype, normal()},
                       {"dx", Role::output, pool.x, kind.dtype, {}}};
  backward.bind = bind_for(kind.dtype, [=]<typename T>(DeviceArrays& a) {
    const AvgPool2dBackwardArgs<T> args{.dx = a.out<T>("dx"), .dy = a.in<T>("dy"), .sizes = pool.sizes()};
    return launch<cpu::avg_pool2d_backward<T>, cuda::avg_pool2d_backward<T>>("avg_pool2d_backward", a, args);
  });
  backward.reference = [=](const Values& in) {
    return std::map<std::string, Expected>{
        {"dx", {reference::avg_pool2d_backward(in.at("dy"), Array(sizes_of(pool.x)), pool.how()), {}}}};
  };
  return {forward, backward};
}

/// The network's window at its own shape, 2x2 elsewhere.
template <typename F>
Op pool_op(const char* name, const Shape& network_shape, std::int64_t network_window, F rows) {
  return op_at(name, {network_shape, kLargeShape}, [=](const Kind& kind, const Shape& x) {
    const std::int64_t window = x == network_shape ? network_window : 2;
    const bool fits = x.rank() == 4 && x[2] >= window && x[3] >= window;
    return fits ? rows(Pool{x, window}, kind) : std::vector<Row>{};
  });
}

}  // namespace

std::vector<Op> pool_ops() {
  return {pool_op("max_pool2d", {kBatch, 16, 24, 24}, 2, max_pool2d),
          pool_op("avg_pool2d", {kBatch, 10, 4, 4}, 4, avg_pool2d)};
}

}  // namespace evenkeel::bench
