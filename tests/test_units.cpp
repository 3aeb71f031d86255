// Images that the CPU's ops hand to each other in units: for users they are tensors like all others.
#include "evenkeel/nn/functional/units.h"

#include <cmath>
#include <thread>

#include "compare.h"
#include "evenkeel/core/autograd.h"
#include "evenkeel/core/random.h"
#include "evenkeel/kernels/isa.h"
#include "evenkeel/nn/layers.h"

using namespace evenkeel;
using namespace evenkeel::test;
using functional::units_of;

namespace {

/// What a convolution makes, and the same numbers in order.
struct Images {
  Tensor in_units, plain;

  explicit Images(Shape shape, DType dtype = DType::f32, std::uint64_t seed = 1) {
    Random random(seed);
    const Tensor x = random.normal(shape, {dtype});
    in_units = conv2d(x, random.normal({shape[1], shape[1], 1, 1}, {dtype}));
    REQUIRE(units_of(in_units).defined());
    plain = in_units.clone();
    REQUIRE(!units_of(plain).defined());
  }
};

const Shape kShapes[] = {{16, 3, 4, 5}, {64, 2, 3, 3}, {9, 1, 1, 1}, {17, 5, 2, 7}};

}  // namespace

TEST_CASE("a convolution's output has the numbers of the convolution without units") {
  for (const Shape& shape : kShapes) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      INFO(shape.str() << " " << name_of(dtype));
      Random random;
      const Tensor x = random.normal(shape, {dtype}), w = random.normal({4, shape[1], 1, 1}, {dtype});
      const Tensor y = conv2d(x, w);
      CHECK(units_of(y).defined());
      const NoFusion guard;
      const Tensor plain = conv2d(x, w);
      CHECK(!units_of(plain).defined());
      CHECK(same_bits(y, plain));
    }
  }
}

TEST_CASE("element-wise ops stay in units, with the bits that they have in order") {
  for (const Shape& shape : kShapes) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      INFO(shape.str() << " " << name_of(dtype));
      const Images a(shape, dtype, 1), b(shape, dtype, 2);
      const auto check = [](const Tensor& y, const Tensor& plain) {
        CHECK(units_of(y).defined());
        CHECK(!units_of(plain).defined());
        CHECK(same_bits(y, plain));
      };
      check(a.in_units + b.in_units, a.plain + b.plain);
      check(a.in_units - b.in_units, a.plain - b.plain);
      check(a.in_units * b.in_units, a.plain * b.plain);
      check(a.in_units / b.in_units, a.plain / b.plain);
      check(a.in_units * 3.0, a.plain * 3.0);
      check(2.0 - a.in_units, 2.0 - a.plain);
      check(a.in_units + ones({1, 1}, {dtype}), a.plain + 1.0);
      check(exp(a.in_units), exp(a.plain));
      check(abs(a.in_units), abs(a.plain));
      check(relu(a.in_units), relu(a.plain));
      check(equal(a.in_units, a.in_units), equal(a.plain, a.plain));
    }
  }
}

TEST_CASE("ops of which one operand lies in units give the numbers in order") {
  const Images a({16, 3, 4, 5});
  Random random;
  const Tensor other = random.normal({16, 3, 4, 5}, {}), row = random.normal({5}, {}),
               more = random.normal({2, 1, 1, 1, 1}, {});
  CHECK(same_bits(a.in_units + other, a.plain + other));
  CHECK(same_bits(other / a.in_units, other / a.plain));
  CHECK(same_bits(a.in_units * row, a.plain * row));
  CHECK(same_bits(a.in_units * more, a.plain * more));
  CHECK(same_bits(a.in_units + ones({1, 1, 1, 1, 1}), (a.plain + 1.0).reshape({1, 16, 3, 4, 5})));
  const Images one_image({16, 3, 1, 1}, DType::f32, 3);
  CHECK(same_bits(a.in_units * one_image.in_units, a.plain * one_image.plain));
  CHECK(same_bits(sum(a.in_units, {0, 2}), sum(a.plain, {0, 2})));
  CHECK(same_bits(log_softmax(a.in_units), log_softmax(a.plain)));
}

TEST_CASE("views of images in units are views") {
  Images a({16, 3, 4, 5});
  const Tensor flat = a.in_units.reshape({16, 60});
  CHECK(units_of(flat).defined());
  CHECK(same_bits(flat, a.plain.reshape({16, 60})));
  CHECK(same_bits(relu(flat), relu(a.plain).reshape({16, 60})));
  CHECK(same_bits(relu(flat).reshape({16, 3, 4, 5}) + a.in_units, relu(a.plain) + a.plain));
  CHECK(!units_of(a.in_units.reshape({8, 2, 60})).defined());
  CHECK(same_bits(a.in_units.reshape({8, 6, 4, 5}) * 2.0, (a.plain * 2.0).reshape({8, 6, 4, 5})));
  CHECK(same_bits(a.in_units.transpose(0, 1) + 1.0, a.plain.transpose(0, 1) + 1.0));
  CHECK(same_bits(a.in_units.slice(0, 3, 15), a.plain.slice(0, 3, 15)));
  CHECK(same_bits(a.in_units.slice(0, 3, 4).broadcast_to({7, 3, 4, 5}),
                  a.plain.slice(0, 3, 4).broadcast_to({7, 3, 4, 5})));
  CHECK(a.in_units.to_vector<float>() == a.plain.to_vector<float>());
  CHECK(same_bits(a.in_units.to(DType::f64), a.plain.to(DType::f64)));
}

TEST_CASE("a change in place is seen by every handle and view, and ends the units") {
  Images a({16, 3, 4, 5});
  const Tensor view = a.in_units.slice(1, 0, 2), same = a.in_units;
  CHECK(same_bits(view, a.plain.slice(1, 0, 2)));
  a.in_units.slice(0, 2, 9).fill_(7);
  a.plain.slice(0, 2, 9).fill_(7);
  CHECK(!units_of(a.in_units).defined());
  CHECK(same_bits(same, a.plain));
  CHECK(same_bits(view, a.plain.slice(1, 0, 2)));
  CHECK(same_bits(relu(same), relu(a.plain)));
  Images b({16, 3, 4, 5});
  b.in_units.mutable_data<float>()[5] = 3;
  b.plain.mutable_data<float>()[5] = 3;
  CHECK(same_bits(b.in_units * 2.0, b.plain * 2.0));
  b.in_units.add_(a.plain);
  b.plain.add_(a.plain);
  CHECK(same_bits(b.in_units, b.plain));
}

TEST_CASE("backward refuses images that were changed after an op in units saved them") {
  Random random;
  const Tensor x = leaf(random.normal({16, 2, 4, 4}, {}));
  const nn::Conv2d conv(2, 2, 1);
  nn::Conv2d first = conv, second = conv;
  Tensor y = first(x);
  const Tensor z = second(y);
  {
    const NoGrad guard;
    y.fill_(1);
  }
  CHECK(mentions(error_of([&] { z.backward(ones(z.shape())); }), {"backward", "changed in place"}));
}

TEST_CASE("gradients add up in units, as of an input that is used twice") {
  Random random;
  const Tensor w = random.normal({3, 3, 1, 1}, {}), x0 = random.normal({20, 3, 4, 4}, {});
  const auto gradient = [&] {
    const Tensor x = leaf(x0), v = leaf(w);
    const Tensor y = conv2d(x, v);
    const Tensor z = relu(y + conv2d(y, v)) + y * 0.5;
    z.backward(ones(z.shape()));
    return std::pair{x.grad(), v.grad()};
  };
  const auto [dx, dw] = gradient();
  const NoFusion guard;
  const auto [expected_dx, expected_dw] = gradient();
  CHECK(close(dx, to_array(expected_dx), 1e-5));
  CHECK(close(dw, to_array(expected_dw), 1e-5));
}

TEST_CASE("images in units are read by several threads at once") {
  for (std::uint64_t round = 0; round < 20; ++round) {
    const Images a({64, 4, 6, 6}, DType::f32, round);
    const Tensor fresh = a.in_units * 1.0;  // nobody has asked for its numbers yet
    std::vector<std::thread> threads;
    std::vector<Tensor> results(4);
    for (std::size_t i = 0; i < results.size(); ++i)
      threads.emplace_back([&, i] { results[i] = i % 2 == 0 ? sum(fresh, {0, 1}) : fresh.clone(); });
    for (std::thread& t : threads) t.join();
    for (std::size_t i = 0; i < results.size(); ++i)
      CHECK(same_bits(results[i], i % 2 == 0 ? sum(a.plain, {0, 1}) : a.plain));
  }
}

TEST_CASE("units of another instruction set are put in order") {
  const cpu::Isa best = cpu::isa();
  for (const cpu::Isa made : cpu::supported_isas()) {
    for (const cpu::Isa read : cpu::supported_isas()) {
      INFO(cpu::name_of(made) << " read by " << cpu::name_of(read));
      cpu::set_isa(made);
      const Images a({17, 3, 4, 5});
      const Tensor fresh = relu(a.in_units);
      cpu::set_isa(read);
      CHECK(same_bits(fresh, relu(a.plain)));
      CHECK(close(group_norm(relu(a.in_units), 3), to_array(group_norm(relu(a.plain), 3))));
    }
  }
  cpu::set_isa(best);
}

TEST_CASE("what no op in units takes gives the numbers in order") {
  const Images a({16, 4, 6, 6});
  CHECK(same_bits(max_pool2d(a.in_units, 3, {.stride = 1, .padding = 1}),
                  max_pool2d(a.plain, 3, {.stride = 1, .padding = 1})));
  CHECK(same_bits(avg_pool2d(a.in_units, {2, 3}), avg_pool2d(a.plain, {2, 3})));
  CHECK(same_bits(rms_norm(a.in_units, {6, 6}), rms_norm(a.plain, {6, 6})));
  CHECK(same_bits(layer_norm(a.in_units.reshape({16, 144}), {144}),
                  layer_norm(a.plain.reshape({16, 144}), {144})));
  CHECK(same_bits(linear(a.in_units.reshape({16, 144}), ones({2, 144})),
                  linear(a.plain.reshape({16, 144}), ones({2, 144}))));
}

TEST_CASE("ops whose input lies in units refuse what they refuse of others, with the same words") {
  const Images a({16, 4, 6, 6});
  const auto same = [](auto f, const Tensor& x, const Tensor& y) {
    const std::string message = error_of([&] { f(x); });
    CHECK(message == error_of([&] { f(y); }));
    CHECK(!message.empty());
  };
  same([](const Tensor& x) { return group_norm(x, 3); }, a.in_units, a.plain);
  same([](const Tensor& x) { return max_pool2d(x, 7); }, a.in_units, a.plain);
  same([](const Tensor& x) { return layer_norm(x, {5}); }, a.in_units, a.plain);
  same([](const Tensor& x) { return batch_norm(x, ones({3}), ones({3}), {}, {}, true); }, a.in_units,
       a.plain);
  same([](const Tensor& x) { return x + ones({5}); }, a.in_units, a.plain);
  same([](const Tensor& x) { return x + ones({16, 4, 6, 6}, {DType::f64}); }, a.in_units, a.plain);
  same([](const Tensor& x) { return conv2d(x, ones({2, 3, 1, 1})); }, a.in_units, a.plain);
  same([](const Tensor& x) { return dropout(x, 1.0, {}); }, a.in_units, a.plain);
}

TEST_CASE("memory: images in units that nobody reads in order are there once") {
  const Shape shape{64, 8, 16, 16};
  const Images a(shape);
  const std::int64_t before = memory_stats().bytes_in_use;
  const Tensor y = relu(a.in_units);
  CHECK(memory_stats().bytes_in_use - before == shape.numel() * 4);
  CHECK(y.to_vector<float>().size() == static_cast<std::size_t>(shape.numel()));
  CHECK(memory_stats().bytes_in_use - before == 2 * shape.numel() * 4);
}

TEST_CASE("backward knows parameters as forward had them") {
  const auto check = [](auto change) {
    const Tensor x = leaf(ones({16, 3, 6, 6}));
    Tensor w = leaf(ones({4, 3, 3, 3})), gamma = leaf(ones({4}));
    const Tensor y = group_norm(conv2d(x, w), 2, gamma);
    change(w, gamma);
    y.backward(ones(y.shape()));
    CHECK(x.grad().shape() == x.shape());
  };
  check([](Tensor& w, Tensor& gamma) {
    w.requires_grad_(false);
    gamma.requires_grad_(false);
  });
  Tensor w = leaf(ones({64, 3, 5, 5}));
  const Tensor y = conv2d(ones({16, 3, 6, 6}), w);
  w.set_data(ones({1, 1, 1, 1}));
  y.backward(ones(y.shape()));
  CHECK(w.grad().shape() == Shape{64, 3, 5, 5});
}

TEST_CASE("what backward does not read may change in place after an op in units") {
  const Tensor x = leaf(ones({16, 3, 6, 6})), w = leaf(ones({4, 3, 3, 3}));
  const auto check = [&](auto f) {
    const Tensor y = f();
    y.backward(ones(y.shape()));
  };
  const auto changed = [](Tensor t) {
    const NoGrad guard;
    t.fill_(5);
  };
  check([&] {
    const Tensor b = leaf(ones({4})), y = conv2d(x, w, b);
    changed(b);
    return y;
  });
  check([&] {
    const Tensor c = conv2d(x, w), y = avg_pool2d(c, 2);
    changed(c);
    return y;
  });
  check([&] {
    const Tensor c = conv2d(x, w), y = max_pool2d(c, 2);
    changed(c);
    return y;
  });
  check([&] {
    const Tensor c = conv2d(x, w), y = dropout(c, 0.5, {});
    changed(c);
    return y;
  });
  check([&] {
    const Tensor beta = leaf(ones({4})), y = group_norm(conv2d(x, w), 2, {}, beta);
    changed(beta);
    return y;
  });
}

TEST_CASE("relu of a single element in units takes its gradient from wherever it lies") {
  const Tensor w = leaf(ones({1, 1, 1, 1})), b = ones({1});
  const Tensor y = relu(conv2d(ones({1, 1, 1, 1}), w, b));
  REQUIRE(units_of(y).defined());
  y.backward(full({16}, 3).slice(0, 15, 16).reshape({1, 1, 1, 1}));
  CHECK(w.grad().item() == 3);
}

TEST_CASE("errors of ops in units name the op") {
  const Tensor y = conv2d(leaf(ones({16, 3, 6, 6})), ones({4, 3, 3, 3}));
  y.backward(ones(y.shape()));
  CHECK(mentions(error_of([&] { y.backward(ones(y.shape())); }), {"through conv2d", "freed"}));
}

TEST_CASE("an op in units leaves the gradient of its output as it is, which others read too") {
  Random random;
  const Tensor w = random.normal({4, 4, 1, 1}, {}), x0 = random.normal({20, 4, 4, 4}, {});
  const auto gradient = [&] {
    const Tensor x = leaf(x0), c = conv2d(x, w);
    const Tensor y = conv2d(c + dropout(c, 0.5, {}), w);
    y.backward(x0);
    return x.grad();
  };
  const Tensor dx = gradient();
  const NoFusion guard;
  CHECK(close(dx, to_array(gradient()), 1e-5));
}
