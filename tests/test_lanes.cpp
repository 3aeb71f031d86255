// MemoryFormat::lanes: the format itself, what keeps it, and what goes back to strided. That each op computes
// the same in it is checked in the op's own test.
#include <limits>
#include <numeric>

#include "compare.h"
#include "evenkeel/apps/mnist/network.h"
#include "evenkeel/core/autograd.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/kernels/lanes.h"
#include "evenkeel/nn/functional.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

constexpr auto kInLanes = MemoryFormat::lanes;
constexpr auto kStrided = MemoryFormat::strided;

/// One image, blocks that are full, and blocks that are not; images of one element, and of sizes around the
/// squares that are transposed as one.
const Shape kShapes[] = {{1, 1},          {15, 3},    {16, 2, 2}, {17, 7, 1, 1}, {33, 3, 5, 7},
                         {64, 1, 28, 28}, {5, 8, 31}, {1, 300},   {40},          {24, 2, 3, 4, 5}};

}  // namespace

TEST_CASE("to(MemoryFormat) and back gives the same bits") {
  for (const Shape& shape : kShapes) {
    for (DType dtype : {DType::f32, DType::f64}) {
      INFO(shape.str() << " " << name_of(dtype));
      const Tensor x = Random().normal(shape, {dtype});
      const Tensor y = x.to(kInLanes);
      CHECK(y.format() == kInLanes);
      CHECK(y.shape() == shape);
      CHECK(same_bits(y, x));
      CHECK(same_bits(y.to(kStrided), x));
      CHECK(y.to(kStrided).is_contiguous());
      CHECK(same_bits(with_gaps(x).to(kInLanes), x));
    }
  }
}

TEST_CASE("element i of image n lies where kernels/lanes.h says") {
  const Shape shape{37, 3, 2};
  std::vector<float> values(37 * 6);
  std::iota(values.begin(), values.end(), 0.f);
  const Tensor y = from_vector(values, shape).to(kInLanes);
  const float* data = y.data<float>(kInLanes);
  constexpr int L = kLanes<float>;
  for (std::int64_t n = 0; n < 37; ++n) {
    for (std::int64_t i = 0; i < 6; ++i)
      CHECK(data[((n / L) * 6 + i) * L + n % L] == values[static_cast<std::size_t>(n * 6 + i)]);
  }
  CHECK(y.lanes_memory().numel() == 3 * 6 * L);
}

TEST_CASE("a tensor in lanes is not mistaken for a strided one") {
  const Tensor x = ones({16, 4}), y = x.to(kInLanes);
  CHECK(mentions(error_of([&] { y.data<float>(); }), {"lanes", "strided", "to(MemoryFormat::strided)"}));
  CHECK(mentions(error_of([&] { x.data<float>(kInLanes); }), {"strided", "lanes"}));
  CHECK(mentions(error_of([&] { y.strides(); }), {"strides", "to(MemoryFormat::strided)"}));
  CHECK(mentions(error_of([&] { x.lanes_memory(); }), {"lanes_memory", "strided"}));
  CHECK(mentions(error_of([] { zeros({4}, {DType::i64}).to(kInLanes); }), {"MemoryFormat::lanes", "i64"}));
  CHECK(mentions(error_of([] { zeros({}).to(kInLanes); }), {"MemoryFormat::lanes", "[]"}));
  for (Device device : devices()) {
    if (device.is_cuda())
      CHECK(mentions(error_of([&] {
                       empty({16}, {DType::f32, device}, kInLanes);
                     }),
                     {"lanes", device.str()}));
  }
}

TEST_CASE("views and copies of a tensor in lanes have the elements of the strided ones") {
  const Tensor x = Random().normal({19, 4, 6}, {}), y = x.to(kInLanes);
  CHECK(y.reshape({19, -1}).format() == kInLanes);
  CHECK(y.reshape({19, -1}).storage() == y.storage());
  CHECK(same_bits(y.reshape({19, 24}), x.reshape({19, 24})));
  CHECK(same_bits(y.reshape({4, 19, 6}), x.reshape({4, 19, 6})));
  CHECK(same_bits(y.transpose(0, 2), x.transpose(0, 2)));
  CHECK(same_bits(y.slice(0, 3, 17, 2), x.slice(0, 3, 17, 2)));
  CHECK(same_bits(y.broadcast_to({2, 19, 4, 6}), x.broadcast_to({2, 19, 4, 6})));
  CHECK(same_bits(y.to(DType::f64), x.to(DType::f64)));
  CHECK(same_bits(sum(y, {1}), sum(x, {1})));
  CHECK(same_bits(max(y, {0}), max(x, {0})));
  CHECK(argmax(y, 1).to_vector<double>() == argmax(x, 1).to_vector<double>());
  CHECK(y.clone().format() == kInLanes);
  CHECK(same_bits(y.clone(), x));
  CHECK_FALSE(y.clone().storage() == y.storage());
  CHECK(y.slice(0, 5, 6).slice(1, 0, 1).slice(2, 0, 1).item() ==
        x.slice(0, 5, 6).slice(1, 0, 1).slice(2, 0, 1).item());
}

TEST_CASE("changes in place of a tensor in lanes") {
  const Tensor x = Random().normal({19, 5}, {}), other = Random(2).normal({19, 5}, {});
  const Tensor row = Random(3).normal({5}, {});
  for (const auto format : {kStrided, kInLanes}) {
    Tensor y = x.to(kInLanes).clone();
    CHECK(same_bits(y.add_(other.to(format), 0.5), x.clone().add_(other, 0.5)));
    CHECK(same_bits(y.add_(row), x.clone().add_(other, 0.5).add_(row)));
    CHECK(same_bits(y.copy_(other.to(format)), other));
    CHECK(same_bits(y.copy_(row), row.broadcast_to({19, 5})));
    CHECK(same_bits(y.fill_(3), full({19, 5}, 3)));
    CHECK(y.format() == kInLanes);
    Tensor strided = x.clone();
    CHECK(same_bits(strided.copy_(other.to(format)), other));
    CHECK(same_bits(strided.add_(other.to(format)), other + other));
  }
}

TEST_CASE("element-wise ops keep lanes where both operands have them") {
  const Tensor a = Random().normal({19, 4, 3}, {}), b = Random(2).uniform({19, 4, 3}, {}, 1, 2);
  const Tensor c = Random(3).normal({4, 1}, {});
  for (const auto op : {add, sub, mul, div}) {
    const Tensor y = op(a.to(kInLanes), b.to(kInLanes));
    CHECK(y.format() == kInLanes);
    CHECK(same_bits(y, op(a, b)));
    CHECK(same_bits(op(a.to(kInLanes), b), op(a, b)));
    CHECK(same_bits(op(a.to(kInLanes), c), op(a, c)));
  }
}

TEST_CASE("gradients reach leaves in the leaf's format, whatever formats they met on the way") {
  for (const auto format : {kStrided, kInLanes}) {
    Tensor x = Random().normal({19, 2, 6, 6}, {DType::f64}).to(format).requires_grad_();
    Tensor w = leaf(Random(2).normal({3, 2, 3, 3}, {DType::f64}));
    // x is used in both formats, so that its two gradients come in both.
    const auto loss = [](const Tensor& in, const Tensor& weight) {
      const Tensor y = conv2d(in.to(kInLanes), weight);
      return sum(relu(y) * 2.0) + sum(in.contiguous() * in);
    };
    loss(x, w).backward();
    CHECK(x.grad().format() == format);
    CHECK(w.grad().format() == kStrided);
    const Tensor first = x.grad().clone();
    loss(x, w).backward();  // accumulates
    CHECK(same_bits(x.grad(), first * 2.0));
    CHECK(gradcheck([&](const std::vector<Tensor>& in) { return loss(in[0], in[1]); }, {x, w},
                    {.max_elements = 20}));
  }
}

TEST_CASE("a convolution takes a batch that fills vectors to lanes, and what follows stays there") {
  const Tensor weight = Random().normal({4, 1, 3, 3}, {});
  CHECK(conv2d(ones({16, 1, 8, 8}), weight).format() == kInLanes);
  CHECK(conv2d(ones({8, 1, 8, 8}), weight).format() == kStrided);
  const Tensor y = conv2d(ones({32, 1, 8, 8}), weight);
  CHECK(relu(y).format() == kInLanes);
  CHECK(max_pool2d(y, 2).format() == kInLanes);
  CHECK(avg_pool2d(y, 2).format() == kInLanes);
  CHECK(group_norm(y, 2).format() == kInLanes);
  CHECK(layer_norm(y, {4, 6, 6}).format() == kInLanes);
  CHECK(layer_norm2d(y).format() == kInLanes);
  CHECK(batch_norm(y, {}, {}, {}, {}, true).format() == kInLanes);
  CHECK(dropout(y, 0.1, {1, RandomPurpose::dropout, 0}).format() == kInLanes);
  CHECK(layer_norm(ones({32}).to(kInLanes), {32}).format() == kStrided);  // its only row is of all images
}

TEST_CASE("dropout and rotation give the same bits in both formats") {
  const RandomKey key{3, RandomPurpose::dropout, 5};
  for (const Shape& shape : kShapes) {
    INFO(shape.str());
    const Tensor x = Random().normal(shape, {});
    CHECK(same_bits(dropout(x.to(kInLanes), 0.3, key), dropout(x, 0.3, key)));
  }
  Random random;
  const Tensor images = random.uniform({40, 9, 11}, {DType::f64}, 0, 256).to(DType::u8);
  for (std::int64_t n : {1, 16, 37}) {
    const Tensor index = random.labels(n, 40, Device::cpu()), angles = random.uniform({n}, {}, -0.5, 0.5);
    for (const Tensor& by : {angles, Tensor()}) {
      const Tensor y = rotate_normalize(images, index, by, 0.1, 0.3, kInLanes);
      CHECK(y.format() == kInLanes);
      CHECK(same_bits(y, rotate_normalize(images, index, by, 0.1, 0.3)));
    }
  }
}

TEST_CASE("a norm after a relu gives the bits of the two ops, as one or not") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  for (DType dtype : {DType::f32, DType::f64}) {
    for (const bool with_nan : {false, true}) {
      INFO(name_of(dtype) << ", NaN " << with_nan);
      const Tensor values = Random().normal({19, 4, 6, 7}, {dtype});
      if (with_nan) {
        values.detach().slice(0, 3, 4).slice(1, 1, 2).fill_(nan);
        values.detach().slice(0, 17, 18).slice(1, 1, 2).fill_(-inf);
      }
      const Tensor dy = Random(2).normal({19, 4, 6, 7}, {dtype});
      const auto run = [&](MemoryFormat format, auto op) {
        Tensor x = values.to(format).detach().clone().requires_grad_();
        Tensor gamma = leaf(Random(3).uniform({4}, {dtype}, 0.5, 2)),
               beta = leaf(Random(4).normal({4}, {dtype}));
        Tensor g3 = leaf(Random(5).uniform({4, 6, 7}, {dtype}, 0.5, 2));
        const Tensor y = op(x, gamma, beta, g3);
        y.backward(dy);
        return std::vector{y, x.grad(), gamma.grad().defined() ? gamma.grad() : g3.grad()};
      };
      for (const auto format : {kInLanes, kStrided}) {
        const auto two = run(format, [](const Tensor& x, const Tensor& g, const Tensor& b, const Tensor&) {
          return group_norm(relu(x), 2, g, b);
        });
        const auto one = run(format, [](const Tensor& x, const Tensor& g, const Tensor& b, const Tensor&) {
          return group_norm(x, 2, g, b, 1e-5, true);
        });
        const auto layer_two =
            run(format, [](const Tensor& x, const Tensor&, const Tensor&, const Tensor& g) {
              return layer_norm(relu(x), {4, 6, 7}, g);
            });
        const auto layer_one =
            run(format, [](const Tensor& x, const Tensor&, const Tensor&, const Tensor& g) {
              return layer_norm(x, {4, 6, 7}, g, {}, 1e-5, true);
            });
        for (std::size_t i = 0; i < 3; ++i) {
          INFO("tensor " << i << ", " << name_of(format));
          CHECK(same_bits(one[i], two[i]));
          CHECK(same_bits(layer_one[i], layer_two[i]));
        }
      }
    }
  }
}

TEST_CASE("a network gives the same outputs and gradients for images in either format") {
  for (const auto norm : {mnist::Norm::bn, mnist::Norm::gn, mnist::Norm::ln, mnist::Norm::ln_c}) {
    INFO(mnist::name_of(norm));
    const Tensor x = Random().normal({19, 1, 28, 28}, {});
    const Tensor labels = Random().labels(19, 10, Device::cpu());
    std::vector<std::vector<Tensor>> results;
    for (const auto format : {kStrided, kInLanes}) {
      manual_seed(1);
      auto net = mnist::network(norm, 2);
      const Tensor log_probs = net(x.to(format));
      nll_loss(log_probs, labels).backward();
      results.push_back({log_probs});
      for (const Tensor& p : net.parameters()) results.back().push_back(p.grad());
    }
    for (std::size_t i = 0; i < results[0].size(); ++i) CHECK(same_bits(results[0][i], results[1][i]));
  }
}
