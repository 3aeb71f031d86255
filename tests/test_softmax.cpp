// log-softmax, the negative log-likelihood, and both together as cross entropy.
#include <cmath>
#include <limits>

#include "compare.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/functional.h"
#include "reference/simple.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

using Inputs = std::vector<Tensor>;

struct RowsCase {
  std::int64_t M, D;
  double mean, std;
  const char* reason;
};
const RowsCase kSoftmaxCases[] = {
    {1, 1, 0, 1, "minimal: one class, y = 0"},
    {1, 10, 0, 1, "batch of one"},
    {64, 10, 0, 1, "the study's"},
    {7, 3, 0, 1, "fewer classes than a vector"},
    {33, 17, 0, 1, "nothing a multiple of anything"},
    {3, 1025, 0, 1, "a row longer than a block of 1024 threads, by one"},
    {5, 10, 1000, 0.01, "large and nearly equal logits: exp overflows without the maximum taken out"},
    {5, 10, -1000, 0.01, "likewise, underflow"},
    {5, 10, 0, 300, "one class takes all"},
    {4, 10, 3, 0, "equal logits"},
    {0, 10, 0, 1, "no rows"},
};

std::string describe(const RowsCase& c) {
  return fmt::format("[{}, {}], mean {}, std {}: {}", c.M, c.D, c.mean, c.std, c.reason);
}

std::vector<reference::Index> indices(const Tensor& labels) {
  const auto values = labels.to_vector<std::int64_t>();
  return {values.begin(), values.end()};
}

}  // namespace

TEST_CASE("log_softmax agrees with the reference, forward and backward") {
  for_each_kind([](TensorOptions options) {
    for (const RowsCase& c : kSoftmaxCases) {
      INFO(describe(c));
      Random random;
      Tensor x = leaf(random.normal({c.M, c.D}, options, c.mean, c.std));
      const Tensor dy = random.normal({c.M, c.D}, options);
      const Tensor y = log_softmax(x);
      y.backward(dy);
      const double tol = tolerance(options.dtype);
      CHECK(close(y, reference::log_softmax(to_array(x)), tol,
                  std::max(1.0, reference::log_softmax(to_array(x)).largest())));
      // y is known to within unit_roundoff * |y|, and so is exp(y), relatively; its weight is the sum of dy.
      CHECK(close(x.grad(), reference::log_softmax_backward(to_array(dy), to_array(x)), tol,
                  std::sqrt(static_cast<double>(c.D))));
    }
  });
}

TEST_CASE("log_softmax has the right gradient along every axis") {
  for_each_device([](TensorOptions options) {
    for (int axis : {0, 1, 2, -1, -3}) {
      INFO("axis " << axis);
      const Inputs x{leaf(Random().normal({3, 4, 5}, options))};
      CHECK(gradcheck([axis](const Inputs& in) { return log_softmax(in[0], axis); }, x));
    }
  });
}

TEST_CASE("log_softmax works along any axis and on views") {
  for_each_kind([](TensorOptions options) {
    const Tensor x = Random().normal({3, 4, 5}, options);
    CHECK(close(sum(exp(log_softmax(x, 1)), {1}), Array({3, 5}, 1)));
    CHECK(close(log_softmax(x, 0), to_array(log_softmax(x.transpose(0, 2), 2).transpose(0, 2))));
    CHECK(close(log_softmax(with_gaps(x)), to_array(log_softmax(x))));
    CHECK(close(log_softmax(transposed_in_memory(x)), to_array(log_softmax(x))));
  });
  CHECK(mentions(error_of([] { log_softmax(zeros({2, 3}), 2); }), {"log_softmax", "2"}));
  CHECK(mentions(error_of([] { log_softmax(zeros({})); }), {"log_softmax"}));
  CHECK(mentions(error_of([] { log_softmax(zeros({2}, {DType::i64})); }), {"floating", "i64"}));
}

TEST_CASE("log_softmax does not hide NaN") {
  for_each_kind([](TensorOptions options) {
    for (std::int64_t position : {0, 2, 3}) {
      INFO("NaN at " << position);
      Tensor x = zeros({2, 4}, options);
      x.slice(0, 1, 2).slice(1, position, position + 1).fill_(std::numeric_limits<double>::quiet_NaN());
      const Array y = to_array(log_softmax(x));
      for (int d = 0; d < 4; ++d) {
        CHECK_FALSE(std::isnan(y(0, d)));
        CHECK(std::isnan(y(1, d)));
      }
    }
  });
}

TEST_CASE("a class ruled out has probability 0 and the others share the rest") {
  for_each_kind([](TensorOptions options) {
    Tensor x = zeros({1, 3}, options);
    x.slice(1, 1, 2).fill_(-std::numeric_limits<double>::infinity());
    const Array y = to_array(exp(log_softmax(x)));
    CHECK(y(0, 1) == 0);
    CHECK(std::abs(y(0, 0) - 0.5) < tolerance(options.dtype));
  });
}

TEST_CASE("nll_loss agrees with the reference in every reduction") {
  for_each_kind([](TensorOptions options) {
    for (const RowsCase& c : kSoftmaxCases) {
      INFO(describe(c));
      Random random;
      const Tensor x = random.normal({c.M, c.D}, options, c.mean, c.std);
      const Tensor target = random.labels(c.M, c.D, options.device), dloss = random.normal({c.M}, options);
      const Array each = reference::nll(to_array(x), indices(target));

      Tensor rows = leaf(x);
      const Tensor loss = nll_loss(rows, target, Reduction::none);
      loss.backward(dloss);
      CHECK(close(loss, each, 0));
      CHECK(close(rows.grad(), reference::nll_backward(to_array(dloss), to_array(x), indices(target)), 0));

      Tensor summed = leaf(x);
      const Tensor total = nll_loss(summed, target, Reduction::sum);
      total.backward();
      CHECK(close(total, Array({}, each.values.sum()), tolerance(options.dtype), each.values.abs().sum()));
      const Array ones({c.M}, 1);
      CHECK(close(summed.grad(), reference::nll_backward(ones, to_array(x), indices(target)), 0));

      if (c.M == 0) continue;
      Tensor averaged = leaf(x);
      const Tensor average = nll_loss(averaged, target);
      average.backward();
      CHECK(
          close(average, Array({}, each.values.mean()), tolerance(options.dtype), each.values.abs().mean()));
      Array shares = ones;
      shares.values /= static_cast<double>(c.M);
      CHECK(close(averaged.grad(), reference::nll_backward(shares, to_array(x), indices(target))));
    }
  });
}

TEST_CASE("cross_entropy is nll_loss of log_softmax, with the textbook gradient") {
  for_each_kind([](TensorOptions options) {
    Random random;
    Tensor x = leaf(random.normal({33, 10}, options, 0, 2));
    const Tensor target = random.labels(33, 10, options.device);
    const Tensor loss = cross_entropy(x, target);
    loss.backward();
    const Array y = reference::log_softmax(to_array(x));
    CHECK(close(loss, Array({}, reference::nll(y, indices(target)).values.mean())));
    Array dx = y;  // (softmax - one-hot) / N
    dx.values = y.values.exp();
    for (int n = 0; n < 33; ++n) dx(n, indices(target)[static_cast<std::size_t>(n)]) -= 1;
    dx.values /= 33;
    CHECK(close(x.grad(), dx));
    CHECK(close(cross_entropy(zeros({4, 10}, options), random.labels(4, 10, options.device)),
                Array({}, std::log(10))));
  });
}

TEST_CASE("the losses have the right gradients") {
  for_each_device([](TensorOptions options) {
    Random random;
    const Inputs x{leaf(random.normal({7, 5}, options))};
    const Tensor target = random.labels(7, 5, options.device);
    for (Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum}) {
      INFO("reduction " << static_cast<int>(reduction));
      CHECK(gradcheck([&](const Inputs& in) { return nll_loss(in[0], target, reduction); }, x));
      CHECK(gradcheck([&](const Inputs& in) { return cross_entropy(in[0], target, reduction); }, x));
      CHECK(gradcheck(
          [&](const Inputs& in) {
            return nll_loss(in[0].reshape({5, 7}).transpose(0, 1), target, reduction);
          },
          x));
    }
  });
}

TEST_CASE("the losses do not depend on the number of threads") {
  for_each_kind([](TensorOptions options) {
    check_independent_of_threads([&] {
      Random random;
      Tensor x = leaf(random.normal({1037, 33}, options));
      const Tensor loss = cross_entropy(x, random.labels(1037, 33, options.device));
      loss.backward();
      return Inputs{loss, x.grad()};
    });
  });
}

TEST_CASE("a label that is no class is refused on the CPU and gives NaN on a GPU") {
  for_each_kind([](TensorOptions options) {
    for (std::int64_t bad : {std::int64_t{-1}, std::int64_t{5}, std::int64_t{1} << 40}) {
      INFO("label " << bad);
      Tensor x = leaf(Random().normal({3, 5}, options));
      const Tensor target = from_vector<std::int64_t>({0, bad, 4}, {3}, options.device);
      if (options.device.is_cpu()) {
        CHECK(mentions(error_of([&] { nll_loss(x, target); }), {"nll_loss", std::to_string(bad), "1", "5"}));
      } else {
        const Tensor loss = nll_loss(x, target);
        CHECK(std::isnan(loss.item()));
        loss.backward();
      }
    }
  });
}

TEST_CASE("nll_loss refuses what does not fit") {
  const Tensor x = zeros({3, 5}), target = zeros({3}, {DType::i64});
  CHECK(mentions(error_of([&] { nll_loss(x, zeros({4}, {DType::i64})); }), {"nll_loss", "[3, 5]", "[4]"}));
  CHECK(mentions(error_of([&] {
                   nll_loss(x, zeros({3, 1}, {DType::i64}));
                 }),
                 {"nll_loss", "[3, 5]", "[3, 1]"}));
  CHECK(mentions(error_of([&] { nll_loss(x, zeros({3})); }), {"nll_loss", "f32"}));
  CHECK(mentions(error_of([&] { nll_loss(zeros({5}), target); }), {"nll_loss", "[5]"}));
  CHECK(mentions(error_of([&] { cross_entropy(zeros({3, 5, 1}), target); }), {"nll_loss", "[3, 5, 1]"}));
}

TEST_CASE("accuracy is the fraction of rows that are right") {
  for_each_kind([](TensorOptions options) {
    Random random;
    const Tensor logits = random.normal({37, 5}, options), target = random.labels(37, 5, options.device);
    double right = 0;
    const auto predicted = argmax(logits, 1).to_vector<std::int64_t>(),
               labels = target.to_vector<std::int64_t>();
    for (std::size_t n = 0; n < labels.size(); ++n) right += predicted[n] == labels[n];
    const Tensor fraction = accuracy(logits, target);
    CHECK(fraction.shape() == Shape{});
    CHECK(fraction.dtype() == DType::f64);
    CHECK(fraction.item() == right / 37);
    CHECK(accuracy(with_gaps(logits), target).item() == right / 37);
    CHECK(accuracy(logits, argmax(logits, 1)).item() == 1);
    CHECK(std::isnan(accuracy(logits.slice(0, 0, 0), target.slice(0, 0, 0)).item()));
  });
  CHECK(mentions(error_of([] {
                   accuracy(zeros({2, 3}), zeros({3}, {DType::i64}));
                 }),
                 {"accuracy", "[2, 3]"}));
  CHECK(mentions(error_of([] { accuracy(zeros({1, 3}), full({1}, 3, {DType::i64})); }), {"accuracy", "3"}));
}

TEST_CASE("classification totals add what a batch got right, and its loss") {
  for_each_kind([](TensorOptions options) {
    const Tensor x =
        tensor({0, 2, 1, 5, 5, 4, -1, -2, -3}).reshape({3, 3}).to(options.dtype).to(options.device);
    const Tensor target = tensor({1, 1, 0}).to(DType::i64).to(options.device);  // of equals the first counts
    Tensor totals = tensor({10, 1}).to(DType::f64).to(options.device);
    add_classification_totals(totals, x, target, full({}, 0.5, options));
    CHECK(totals.to_vector<double>() == std::vector{11.5, 3.0});
    add_classification_totals(totals, full({3, 3}, std::nan(""), options), target,
                              full({}, std::nan(""), options));
    CHECK(std::isnan(totals.to_vector<double>()[0]));
    CHECK(totals.to_vector<double>()[1] == 4);  // the first NaN is the largest
    Random random;
    const Tensor many = random.normal({1000, 10}, options);
    const Tensor labels = random.labels(1000, 10, options.device);
    Tensor counted = zeros({2}, {DType::f64, options.device});
    add_classification_totals(counted, many, labels, zeros({}, options));
    const auto predicted = argmax(many, 1).to_vector<std::int64_t>(),
               wanted = labels.to_vector<std::int64_t>();
    std::int64_t correct = 0;
    for (std::size_t i = 0; i < wanted.size(); ++i) correct += predicted[i] == wanted[i];
    CHECK(counted.to_vector<double>()[1] == static_cast<double>(correct));
  });
  Tensor totals = zeros({2});
  CHECK(mentions(error_of([&] {
                   add_classification_totals(totals, zeros({2, 3}), zeros({2}, {DType::i64}), zeros({}));
                 }),
                 {"add_classification_totals", "f32", "f64"}));
  Tensor sums = zeros({2}, {DType::f64});
  for (const Shape& shape : {Shape{0}, Shape{2}}) {
    CHECK(mentions(error_of([&] {
                     add_classification_totals(sums, zeros({2, 3}), zeros({2}, {DType::i64}), zeros(shape));
                   }),
                   {"add_classification_totals", shape.str()}));
  }
}
