// Rows of what a training step has besides layers: rotate_normalize, log_softmax_nll, sgd.
#include <cmath>
#include <numbers>

#include "bench/op_rows.h"
#include "evenkeel/apps/mnist/network.h"
#include "evenkeel/kernels/rotate.h"
#include "evenkeel/kernels/sgd.h"
#include "evenkeel/kernels/softmax.h"
#include "evenkeel/nn/optim.h"
#include "reference/rotate.h"
#include "reference/sgd.h"
#include "reference/simple.h"

namespace evenkeel::bench {
namespace {

// --- rotate_normalize
// ------------------------------------------------------------------------------------------

constexpr double kMostDegrees = 7;

/// Angles at which no pixel lies so near the middle of two that rounding would decide.
Fill angles(std::int64_t H, std::int64_t W) {
  return [=](const reference::Sizes& shape, const Values&, Generator& random) {
    const double most = kMostDegrees * std::numbers::pi / 180;
    std::uniform_real_distribution<float> draw(static_cast<float>(-most), static_cast<float>(most));
    const Array blank({H, W});
    Array all(shape);
    for (double& angle : all.values) {
      do angle = draw(random);
      while (reference::rotate(blank, angle).margin < 1e-5);
    }
    return all;
  };
}

Array rotated(const Values& in, const Shape& y) {
  const Array &images = in.at("images"), &index = in.at("index"), &angle = in.at("angle");
  const reference::Index pixels = y[2] * y[3];
  Array out(sizes_of(y));
  Array image({y[2], y[3]});
  for (reference::Index n = 0; n < y[0]; ++n) {
    image.values = images.values.segment(static_cast<reference::Index>(index(n)) * pixels, pixels);
    const Array turned = reference::rotate(image, angle(n)).pixels;
    out.values.segment(n * pixels, pixels) = (turned.values / 255 - kMean) / kStd;
  }
  return out;
}

std::vector<Row> rotate(const Kind& kind, const Shape& y) {
  if (y.rank() != 4 || y[1] != 1) return {};
  const std::int64_t N = y[0], H = y[2], W = y[3];
  Row row = make_row("rotate_normalize", "forward", y, kind, 12);
  row.parameters = {{"mean", kMean}, {"std", kStd}, {"degrees", kMostDegrees}};
  row.operands = {{"images", Role::input, {N, H, W}, DType::u8, integers(256)},
                  {"index", Role::input, {N}, DType::i64, integers(N)},
                  {"angle", Role::input, {N}, DType::f32, angles(H, W)},
                  {"y", Role::output, y, kind.dtype, {}}};
  row.bind = bind_for(kind.dtype, [=]<typename T>(DeviceArrays& a) {
    const RotateNormalizeArgs<T> args{.y = a.out<T>("y"),
                                      .images = a.in<std::uint8_t>("images"),
                                      .index = a.in<std::int64_t>("index"),
                                      .angle = a.in<float>("angle"),
                                      .N = N,
                                      .H = H,
                                      .W = W,
                                      .mean = kMean,
                                      .std = kStd};
    return launch<cpu::rotate_normalize<T>, cuda::rotate_normalize<T>>("rotate_normalize", a, args);
  });
  row.reference = [y](const Values& in) {
    return std::map<std::string, Expected>{{"y", {rotated(in, y), {}}}};
  };
  return {row};
}

// --- log_softmax and nll_loss
// ------------------------------------------------------------------------------------

std::vector<reference::Index> labels(const Array& target) {
  std::vector<reference::Index> all;
  for (double label : target.values) all.push_back(static_cast<reference::Index>(label));
  return all;
}

Row loss_forward(const Kind& kind, const Shape& x) {
  Row row = make_row("log_softmax_nll", "forward", x, kind, 5);
  row.operands = {{"x", Role::input, x, kind.dtype, normal()},
                  {"target", Role::input, {x[0]}, DType::i64, integers(x[1])},
                  {"y", Role::output, x, kind.dtype, {}},
                  {"loss", Role::output, {x[0]}, kind.dtype, {}}};
  row.bind = bind_for(kind.dtype, [=]<typename T>(DeviceArrays& a) -> Launch {
    const LogSoftmaxForwardArgs<T> softmax{.y = a.out<T>("y"), .x = a.in<T>("x"), .M = x[0], .D = x[1]};
    const NllLossForwardArgs<T> nll{.loss = a.out<T>("loss"),
                                    .x = a.in<T>("y"),
                                    .target = a.in<std::int64_t>("target"),
                                    .M = x[0],
                                    .D = x[1]};
    return [first = launch<cpu::log_softmax_forward<T>, cuda::log_softmax_forward<T>>("log_softmax_forward",
                                                                                      a, softmax),
            then = launch<cpu::nll_loss_forward<T>, cuda::nll_loss_forward<T>>("nll_loss_forward", a, nll)] {
      first();
      then();
    };
  });
  row.reference = [](const Values& in) {
    Array y = reference::log_softmax(in.at("x"));
    Array loss = reference::nll(y, labels(in.at("target")));
    return std::map<std::string, Expected>{{"y", {std::move(y), {}}}, {"loss", {std::move(loss), {}}}};
  };
  return row;
}

Row loss_backward(const Kind& kind, const Shape& x) {
  Row row = make_row("log_softmax_nll", "backward", x, kind, 4);
  const auto mean_loss =
      derived([x](const Values&) { return Array({x[0]}, 1.0 / static_cast<double>(x[0])); });
  row.operands = {{"x", Role::host, x, kind.dtype, normal()},
                  {"y", Role::input, x, kind.dtype,
                   derived([](const Values& in) { return reference::log_softmax(in.at("x")); })},
                  {"target", Role::input, {x[0]}, DType::i64, integers(x[1])},
                  {"dloss", Role::input, {x[0]}, kind.dtype, mean_loss},
                  {"dy", Role::output, x, kind.dtype, {}},
                  {"dx", Role::output, x, kind.dtype, {}}};
  row.bind = bind_for(kind.dtype, [=]<typename T>(DeviceArrays& a) -> Launch {
    const NllLossBackwardArgs<T> nll{.dx = a.out<T>("dy"),
                                     .dloss = a.in<T>("dloss"),
                                     .target = a.in<std::int64_t>("target"),
                                     .M = x[0],
                                     .D = x[1]};
    const LogSoftmaxBackwardArgs<T> softmax{
        .dx = a.out<T>("dx"), .dy = a.in<T>("dy"), .y = a.in<T>("y"), .M = x[0], .D = x[1]};
    return
        [first = launch<cpu::nll_loss_backward<T>, cuda::nll_loss_backward<T>>("nll_loss_backward", a, nll),
         then = launch<cpu::log_softmax_backward<T>, cuda::log_softmax_backward<T>>("log_softmax_backward", a,
                                                                                    softmax)] {
          first();
          then();
        };
  });
  row.reference = [](const Values& in) {
    const Array dy = reference::nll_backward(in.at("dloss"), in.at("x"), labels(in.at("target")));
    return std::map<std::string, Expected>{{"dx", {reference::log_softmax_backward(dy, in.at("x")), {}}}};
  };
  return row;
}

std::vector<Row> loss(const Kind& kind, const Shape& x) {
  if (x.rank() != 2) return {};
  return {loss_forward(kind, x), loss_backward(kind, x)};
}

// --- sgd
// -----------------------------------------------------------------------------------------------------------

/// The sizes of the parameters of the network with batch norm.
std::vector<std::int64_t> network_parameters() {
  std::vector<std::int64_t> sizes;
  for (const Tensor& p : mnist::network(mnist::Norm::bn, 1).parameters()) sizes.push_back(p.numel());
  return sizes;
}

Row sgd_row(const Kind& kind, const std::vector<std::int64_t>& sizes) {
  constexpr double lr = 0.01, momentum = 0.9;
  std::int64_t n = 0;
  for (std::int64_t size : sizes) n += size;
  Row row = make_row("sgd", "step", {n}, kind, 4);
  row.variant = fmt::format("{} tensor{}", sizes.size(), sizes.size() == 1 ? "" : "s");
  row.parameters = {{"sizes", sizes}, {"lr", lr}, {"momentum", momentum}};
  row.operands = {{"p", Role::in_out, {n}, kind.dtype, normal()},
                  {"v", Role::in_out, {n}, kind.dtype, normal()},
                  {"g", Role::input, {n}, kind.dtype, normal()}};
  row.bind = bind_for(kind.dtype, [=]<typename T>(DeviceArrays& a) -> Launch {
    std::vector<SgdTensor<T>> tensors;
    std::int64_t begin = 0;
    for (std::int64_t size : sizes) {
      tensors.push_back({a.out<T>("p") + begin, a.out<T>("v") + begin, a.in<T>("g") + begin, size});
      begin += size;
    }
    return [tensors, device = a.device()] {
      const SgdArgs<T> args{.tensors = tensors.data(),
                            .count = static_cast<int>(tensors.size()),
                            .rule = optim::rule_of({.lr = lr, .momentum = momentum})};
      run_kernel<cpu::sgd_step<T>, cuda::sgd_step<T>>("sgd_step", device, args);
    };
  });
  row.reference = [](const Values& in) {
    Array p = in.at("p"), v = in.at("v");
    reference::sgd_step(p, v, in.at("g"), {.lr = lr, .momentum = momentum});
    return std::map<std::string, Expected>{{"p", {std::move(p), {}}}, {"v", {std::move(v), {}}}};
  };
  return row;
}

Op sgd_op() {
  const auto at = [](const Kind& kind, const Shape& shape) {
    return shape.rank() == 1 ? std::vector<Row>{sgd_row(kind, {shape[0]})} : std::vector<Row>{};
  };
  const auto listed = [](const Kind& kind) {
    return std::vector<Row>{sgd_row(kind, network_parameters()), sgd_row(kind, {std::int64_t{1} << 24})};
  };
  return {"sgd", listed, at};
}

}  // namespace

std::vector<Op> step_ops() {
  return {op_at("rotate_normalize", {{kBatch, 1, 28, 28}, {16384, 1, 28, 28}}, rotate),
          op_at("log_softmax_nll", {{kBatch, 10}, kLargeRows}, loss), sgd_op()};
}

}  // namespace evenkeel::bench
