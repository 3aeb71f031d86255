// Rows of conv2d: the network's nine convolutions, without bias, and a large one.
#include "bench/op_rows.h"
#include "reference/conv2d.h"

namespace evenkeel::bench {
namespace {

/// A square kernel, stride 1.
struct Conv {
  std::int64_t N, C, H, W, K, R, pad;

  std::int64_t P() const { return H + 2 * pad - R + 1; }
  std::int64_t Q() const { return W + 2 * pad - R + 1; }
  Shape x() const { return {N, C, H, W}; }
  Shape weight() const { return {K, C, R, R}; }
  Shape y() const { return {N, K, P(), Q()}; }
  double products() const { return static_cast<double>(y().numel() * C * R * R); }
  Conv2dSizes sizes() const {
    return {.N = N,
            .C = C,
            .H = H,
            .W = W,
            .K = K,
            .R = R,
            .S = R,
            .P = P(),
            .Q = Q(),
            .stride_h = 1,
            .stride_w = 1,
            .pad_h = pad,
            .pad_w = pad,
            .dilation_h = 1,
            .dilation_w = 1,
            .groups = 1};
  }
  reference::Conv2d how() const { return {.pad_h = pad, .pad_w = pad}; }
};

const std::vector<Conv> kConvs{{kBatch, 1, 28, 28, 4, 3, 0},   {kBatch, 4, 26, 26, 8, 3, 0},
                               {kBatch, 8, 24, 24, 16, 1, 0},  {kBatch, 16, 12, 12, 16, 3, 0},
                               {kBatch, 16, 10, 10, 16, 1, 0}, {kBatch, 16, 10, 10, 16, 3, 0},
                               {kBatch, 16, 8, 8, 16, 3, 0},   {kBatch, 16, 6, 6, 10, 3, 0},
                               {kBatch, 10, 1, 1, 10, 1, 0},   {64, 64, 56, 56, 64, 3, 1}};

/// More products than this and only a part of the output is checked.
constexpr double kMostProducts = 2e8;

/// Elements begin, begin+1, ... of a, in another shape.
Array part(const Array& a, reference::Index begin, const reference::Sizes& shape) {
  Array result(shape);
  result.values = a.values.segment(begin, result.numel());
  return result;
}

std::vector<reference::Index> range(reference::Index begin, reference::Index count) {
  std::vector<reference::Index> all(static_cast<std::size_t>(count));
  for (reference::Index i = 0; i < count; ++i) all[static_cast<std::size_t>(i)] = begin + i;
  return all;
}

/// The convolution of the images that are checked: all, or the last.
struct Checked {
  Conv conv;
  reference::Index first_image;
  explicit Checked(Conv c) : conv(c), first_image(c.products() > kMostProducts ? c.N - 1 : 0) {
    conv.N -= first_image;
  }
  /// The images of a, [N, ...] of shape `one` for the checked ones.
  Array images(const Array& a, const Shape& one) const {
    return part(a, first_image * (one.numel() / conv.N), sizes_of(one));
  }
  Expected expected(Array values) const {
    const reference::Index n = values.numel();
    return {std::move(values), range(first_image * (n / conv.N), n)};
  }
};

Row conv_row(const char* pass, Conv conv, const Kind& kind) {
  Row row = make_row("conv2d", pass, conv.x(), kind);
  row.variant = fmt::format("{} filters {}x{}{}", conv.K, conv.R, conv.R, conv.pad ? " padded" : "");
  row.parameters = {{"filters", conv.K}, {"kernel", conv.R}, {"padding", conv.pad}};
  row.flops = 2 * conv.products();
  return row;
}

Row forward(Conv conv, const Kind& kind) {
  Row row = conv_row("forward", conv, kind);
  row.operands = {{"x", Role::input, conv.x(), kind.dtype, normal()},
                  {"weight", Role::input, conv.weight(), arithmetic_of(kind.dtype), normal()},
                  {"y", Role::output, conv.y(), kind.dtype, {}}};
  row.bind = bind_for_storage(kind.dtype, [=]<typename T>(DeviceArrays& a) {
    const Conv2dForwardArgs<T> args{.y = a.out<T>("y"),
                                    .x = a.in<T>("x"),
                                    .weight = a.in<Arithmetic<T>>("weight"),
                                    .bias = nullptr,
                                    .sizes = conv.sizes()};
    return launch_storage<cpu::conv2d_forward<T>, cuda::conv2d_forward<T>>("conv2d_forward", a, args);
  });
  row.reference = [checked = Checked(conv)](const Values& in) {
    const Conv& c = checked.conv;
    Array y = reference::conv2d(checked.images(in.at("x"), c.x()), in.at("weight"), Array({c.K}), c.how());
    return std::map<std::string, Expected>{{"y", checked.expected(std::move(y))}};
  };
  return row;
}

Row backward_input(Conv conv, const Kind& kind) {
  Row row = conv_row("backward_input", conv, kind);
  row.operands = {{"dy", Role::input, conv.y(), kind.dtype, normal()},
                  {"weight", Role::input, conv.weight(), arithmetic_of(kind.dtype), normal()},
                  {"dx", Role::output, conv.x(), kind.dtype, {}}};
  row.bind = bind_for_storage(kind.dtype, [=]<typename T>(DeviceArrays& a) {
    const Conv2dBackwardInputArgs<T> args{.dx = a.out<T>("dx"),
                                          .dy = a.in<T>("dy"),
                                          .weight = a.in<Arithmetic<T>>("weight"),
                                          .sizes = conv.sizes()};
    return launch_storage<cpu::conv2d_backward_input<T>, cuda::conv2d_backward_input<T>>(
        "conv2d_backward_input", a, args);
  });
  row.reference = [checked = Checked(conv)](const Values& in) {
    const Conv& c = checked.conv;
    auto gradients = reference::conv2d_backward(checked.images(in.at("dy"), c.y()), Array(sizes_of(c.x())),
                                                in.at("weight"), c.how());
    return std::map<std::string, Expected>{{"dx", checked.expected(std::move(gradients.dx))}};
  };
  return row;
}

/// dy [N, K, P, Q] of filter k alone: [N, 1, P, Q].
Array channel(const Array& dy, reference::Index k) {
  const reference::Index planes = dy.size(1), plane = dy.size(2) * dy.size(3);
  Array one({dy.size(0), 1, dy.size(2), dy.size(3)});
  for (reference::Index n = 0; n < dy.size(0); ++n) {
    one.values.segment(n * plane, plane) = dy.values.segment((n * planes + k) * plane, plane);
  }
  return one;
}

Row backward_weight(Conv conv, const Kind& kind) {
  Row row = conv_row("backward_weight", conv, kind);
  row.operands = {{"dy", Role::input, conv.y(), kind.dtype, normal()},
                  {"x", Role::input, conv.x(), kind.dtype, normal()},
                  {"dweight", Role::output, conv.weight(), arithmetic_of(kind.dtype), {}}};
  row.bind = bind_for_storage(kind.dtype, [=]<typename T>(DeviceArrays& a) {
    const Conv2dBackwardWeightArgs<T> args{.dweight = a.out<Arithmetic<T>>("dweight"),
                                           .dbias = nullptr,
                                           .dy = a.in<T>("dy"),
                                           .x = a.in<T>("x"),
                                           .sizes = conv.sizes()};
    return launch_storage<cpu::conv2d_backward_weight<T>, cuda::conv2d_backward_weight<T>>(
        "conv2d_backward_weight", a, args);
  });
  row.reference = [=](const Values& in) {
    const bool all = conv.products() <= kMostProducts;
    const std::int64_t filters = all ? conv.K : 1, last = conv.K - 1;
    const Array& dy = in.at("dy");
    auto gradients = reference::conv2d_backward(all ? dy : channel(dy, last), in.at("x"),
                                                Array({filters, conv.C, conv.R, conv.R}), conv.how());
    const std::int64_t n = gradients.dweight.numel();
    return std::map<std::string, Expected>{
        {"dweight", {std::move(gradients.dweight), range(all ? 0 : last * n, n)}}};
  };
  return row;
}

void append(std::vector<Row>& rows, Conv conv, const Kind& kind) {
  rows.push_back(forward(conv, kind));
  rows.push_back(backward_input(conv, kind));
  rows.push_back(backward_weight(conv, kind));
}

}  // namespace

Conv2dSizes conv2d_sizes(const Row& row) {
  const auto parameter = [&](const char* name) { return row.parameters.at(name).get<std::int64_t>(); };
  const Conv conv{row.shape[0],         row.shape[1],        row.shape[2],        row.shape[3],
                  parameter("filters"), parameter("kernel"), parameter("padding")};
  return conv.sizes();
}

Op conv2d_op() {
  const auto listed = [](const Kind& kind) {
    std::vector<Row> rows;
    for (const Conv& conv : kConvs) append(rows, conv, kind);
    return rows;
  };
  // Elsewhere 3x3 filters, as many as channels, padded to keep the size.
  const auto at = [](const Kind& kind, const Shape& shape) {
    std::vector<Row> rows;
    if (shape.rank() == 4) append(rows, {shape[0], shape[1], shape[2], shape[3], shape[1], 3, 1}, kind);
    return rows;
  };
  return {"conv2d", listed, at, true};
}

}  // namespace evenkeel::bench
