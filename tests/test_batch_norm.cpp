// Batch normalization: training, evaluation, and the running statistics between them.
#include <cmath>
#include <limits>

#include "check_norm.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/functional.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

struct BatchNormShape {
  Shape x;
  const char* reason;
};
const BatchNormShape kBatchNormShapes[] = {
    {{2, 1, 1, 1}, "the fewest values per channel that training takes"},
    {{1, 3, 2, 2}, "batch of one"},
    {{7, 5, 3, 3}, "7 images"},
    {{17, 3, 1, 1}, "17 images of 1x1 planes"},
    {{33, 2, 5, 7}, "33 images, odd width"},
    {{5, 1, 33, 31}, "one channel, planes longer than any unrolling"},
    {{6, 4}, "no pixels at all"},
    {{3, 2, 4, 3, 2}, "three spatial axes"},
    {{2, 8, 24, 24}, "the study's second"},
    {{4, 10, 4, 4}, "the study's last"},
};

/// A case of batch norm in training mode, without running statistics.
NormCase batch_norm_case(const BatchNormShape& s) {
  return {s.x,
          {s.x[1]},
          reference::batch_norm_partition(sizes_of(s.x)),
          [](const Tensor& x, const Tensor& gamma, const Tensor& beta) {
            return batch_norm(x, {}, {}, gamma, beta, true);
          },
          fmt::format("batch_norm, {}", s.reason)};
}

}  // namespace

TEST_CASE("batch_norm in training agrees with the reference") {
  for (const auto& s : kBatchNormShapes) check_norm_against_reference(batch_norm_case(s));
}

TEST_CASE("batch_norm in training has the right gradients") {
  for (const auto& s : kBatchNormShapes) check_norm_gradients(batch_norm_case(s));
}

TEST_CASE("batch_norm takes views, and gives only the gradients that are wanted") {
  const NormCase c = batch_norm_case({{3, 6, 5, 4}, "views"});
  check_norm_takes_views(c);
  check_norm_partial_gradients(c);
}

TEST_CASE("batch_norm does not depend on the number of threads") {
  check_norm_threads(batch_norm_case({{64, 8, 24, 24}, "the study's second, a full batch"}));
  check_norm_threads(batch_norm_case({{37, 10, 4, 4}, "a batch that threads cannot share evenly"}));
}

TEST_CASE("batch_norm has the right gradients where x is very small or very large") {
  NormCase c = batch_norm_case({{5, 3, 3, 3}, "scales"});
  c.op = [](const Tensor& x, const Tensor& gamma, const Tensor& beta) {
    return batch_norm(x, {}, {}, gamma, beta, true, 0.1, 0);
  };
  check_norm_scales(c);
}

TEST_CASE("batch_norm uses eps") {
  NormCase c = batch_norm_case({{2, 4, 3, 3}, "eps 0.5"});
  c.eps = 0.5;
  c.op = [](const Tensor& x, const Tensor& gamma, const Tensor& beta) {
    return batch_norm(x, {}, {}, gamma, beta, true, 0.1, 0.5);
  };
  check_norm_against_reference(c);
}

TEST_CASE("training moves the running statistics towards the batch's, with the unbiased variance") {
  for_each_storage_kind([](TensorOptions options) {
    for (const auto& [shape, reason] : kBatchNormShapes) {
      for (double momentum : {0.1, 1.0, 0.0}) {
        INFO(shape.str() << ", momentum " << momentum << ": " << reason);
        Random random;
        Tensor running_mean = random.normal({shape[1]}, parameters_of(options));
        Tensor running_var = random.uniform({shape[1]}, parameters_of(options), 0.5, 2);
        const Array mean_before = to_array(running_mean), var_before = to_array(running_var);
        const Tensor x = random.normal(shape, options, 3, 2);
        const auto stats =
            reference::statistics(to_array(x), reference::batch_norm_partition(sizes_of(shape)));
        const Tensor y = batch_norm(x, running_mean, running_var, {}, {}, true, momentum);
        CHECK(close(running_mean, reference::running_average(mean_before, stats.mean, momentum)));
        CHECK(
            close(running_var, reference::running_average(var_before, reference::unbiased(stats), momentum)));
        CHECK(same_bits(y, batch_norm(x, {}, {}, {}, {}, true)));  // they have no say in training
      }
    }
  });
}

TEST_CASE("the variance survives a mean of 1000") {
  for_each_kind([](TensorOptions options) {
    Tensor running_mean = zeros({3}, options), running_var = zeros({3}, options);
    const Tensor x = Random().normal({16, 3, 9, 9}, options, 1000, 0.01);
    const auto stats = reference::statistics(to_array(x), reference::batch_norm_partition({16, 3, 9, 9}));
    batch_norm(x, running_mean, running_var, {}, {}, true, 1.0);
    CHECK(close(running_var, reference::running_average(Array({3}), reference::unbiased(stats), 1.0)));
  });
}

TEST_CASE("a running variance keeps its digits where the batch's is far smaller") {
  for_each_kind([](TensorOptions options) {
    for (double momentum : {1.0, 0.5, 0.0}) {
      INFO("momentum " << momentum);
      Tensor running_mean = full({1}, 1000, options), running_var = ones({1}, options);
      const Tensor x = from_vector<double>({1e-4, 2e-4, 4e-4}, {3, 1}).to(options.dtype).to(options.device);
      batch_norm(x, running_mean, running_var, {}, {}, true, momentum);
      const double mean = (1 - momentum) * 1000 + momentum * 7e-4 / 3,
                   var = 1 - momentum + momentum * 7e-8 / 3;
      CHECK(std::abs(running_mean.item() - mean) <= 1e-6 * mean);
      CHECK(std::abs(running_var.item() - var) <= 1e-6 * var);
    }
  });
}

TEST_CASE("evaluation takes infinities as PyTorch does") {
  for_each_storage_kind([](TensorOptions options) {
    const double inf = std::numeric_limits<double>::infinity();
    const TensorOptions channels = parameters_of(options);
    Tensor x = leaf(from_vector<double>({inf, 1}, {2, 1}).to(options.dtype).to(options.device));
    Tensor gamma = leaf(full({1}, 2, channels)), beta = leaf(ones({1}, channels));
    Tensor running_mean = zeros({1}, channels), running_var = ones({1}, channels);
    const Tensor y = batch_norm(x, running_mean, running_var, gamma, beta, false, 0.1, 3);
    CHECK(y.to_vector<double>() == std::vector<double>{inf, 2});
    y.backward(ones({2, 1}, options));
    CHECK(x.grad().to_vector<double>() == std::vector<double>{1, 1});
    CHECK(gamma.grad().item() == inf);
    CHECK(beta.grad().item() == 2);
    running_mean.fill_(inf);
    CHECK(batch_norm(x.slice(0, 1, 2), running_mean, running_var, gamma, beta, false).item() == -inf);
  });
}

TEST_CASE("the mean of a batch with an infinity is infinite, in training on the CPU") {
  const double inf = std::numeric_limits<double>::infinity();
  for (const std::vector<double>& values : {std::vector{inf, 1.0, 2.0}, {1.0, inf, 2.0}, {1.0, 2.0, inf}}) {
    for (const Shape& shape : {Shape{3, 1, 1, 1}, Shape{1, 1, 3, 1}}) {
      Tensor running_mean = zeros({1}), running_var = ones({1});
      const Tensor x = from_vector<double>(values, shape).to(DType::f32);
      batch_norm(x, running_mean, running_var, {}, {}, true);
      CHECK(running_mean.item() == inf);
      CHECK(std::isnan(running_var.item()));
    }
  }
}

TEST_CASE("evaluation uses the running statistics, and does not change them") {
  for_each_storage_kind([](TensorOptions options) {
    for (const auto& [shape, reason] : kBatchNormShapes) {
      INFO(shape.str() << ": " << reason);
      const auto partition = reference::batch_norm_partition(sizes_of(shape));
      Random random;
      const Shape channels{shape[1]};
      Tensor running_mean = random.normal(channels, parameters_of(options)),
             running_var = random.uniform(channels, parameters_of(options), 0.5, 2);
      const reference::Statistics stats{to_array(running_mean).values, to_array(running_var).values, {}};
      Tensor x = leaf(random.normal(shape, options)),
             gamma = leaf(random.uniform(channels, parameters_of(options), 0.5, 2));
      Tensor beta = leaf(random.normal(channels, parameters_of(options)));
      const Tensor dy = random.normal(shape, options);
      const Tensor y = batch_norm(x, running_mean, running_var, gamma, beta, false);
      const Array vx = to_array(x), vgamma = to_array(gamma), vdy = to_array(dy);
      CHECK(close(y, reference::normalize(vx, partition, stats, vgamma, to_array(beta), 1e-5)));
      CHECK((to_array(running_var).values == stats.var).all());
      CHECK((to_array(running_mean).values == stats.mean).all());
      y.backward(dy);
      const auto expected = reference::normalize_backward_fixed(vdy, vx, partition, stats, vgamma, 1e-5);
      const double terms = static_cast<double>(x.numel() / shape[1]);
      CHECK(close(x.grad(), expected.dx));
      CHECK(close(gamma.grad(), expected.dgamma, tolerance(options.dtype), 3 * std::sqrt(terms)));
      CHECK(close(beta.grad(), expected.dbeta, tolerance(options.dtype), std::sqrt(terms)));
    }
  });
}

TEST_CASE("evaluation has the right gradients") {
  for_each_device([](TensorOptions options) {
    Random random;
    const Tensor running_mean = random.normal({3}, options),
                 running_var = random.uniform({3}, options, 0.5, 2);
    const std::vector<Tensor> inputs{leaf(random.normal({4, 3, 2, 3}, options)),
                                     leaf(random.normal({3}, options)), leaf(random.normal({3}, options))};
    CHECK(gradcheck(
        [&](const std::vector<Tensor>& in) {
          return batch_norm(in[0], running_mean, running_var, in[1], in[2], false);
        },
        inputs));
  });
}

TEST_CASE("backward of evaluation stands when training moves the running statistics after it") {
  for_each_kind([](TensorOptions options) {
    Random random;
    Tensor running_mean = zeros({2}, options), running_var = full({2}, 4, options);
    Tensor x = leaf(random.normal({3, 2}, options));
    const Tensor y = batch_norm(x, running_mean, running_var, {}, {}, false);
    batch_norm(random.normal({3, 2}, options), running_mean, running_var, {}, {}, true);
    y.backward(ones({3, 2}, options));
    CHECK(close(x.grad(), Array({3, 2}, 1 / std::sqrt(4 + 1e-5))));
  });
}

TEST_CASE("one NaN spoils its channel and no other") {
  for_each_kind([](TensorOptions options) {
    Tensor x = Random().normal({4, 3, 5, 5}, options);
    x.slice(0, 2, 3).slice(1, 1, 2).slice(2, 4, 5).slice(3, 4, 5).fill_(
        std::numeric_limits<double>::quiet_NaN());
    const Array y = to_array(batch_norm(x, {}, {}, {}, {}, true));
    for (int n = 0; n < 4; ++n) {
      for (int c = 0; c < 3; ++c) CHECK(std::isnan(y(n, c, 0, 0)) == (c == 1));
    }
  });
}

TEST_CASE("batch_norm refuses one value per channel in training, and what does not fit") {
  for (const Shape& shape : {Shape{1, 3, 1, 1}, Shape{1, 3}}) {
    const Tensor x = zeros(shape);
    const Tensor mean = zeros({3}), var = ones({3});
    CHECK(mentions(error_of([&] { batch_norm(x, mean, var, {}, {}, true); }),
                   {"batch_norm", shape.str(), "more than one"}));
    CHECK(batch_norm(x, mean, var, {}, {}, false).shape() == shape);
  }
  const Tensor x = zeros({2, 3, 4, 4}), ok = ones({3}), bad = ones({4}), f64 = ones({3}, {DType::f64});
  CHECK(mentions(error_of([&] { batch_norm(x, bad, ok, {}, {}, true); }),
                 {"batch_norm", "[4]", "[2, 3, 4, 4]"}));
  CHECK(mentions(error_of([&] { batch_norm(x, ok, bad, {}, {}, false); }),
                 {"batch_norm", "[4]", "[2, 3, 4, 4]"}));
  CHECK(mentions(error_of([&] { batch_norm(x, ok, ok, bad, {}, true); }),
                 {"batch_norm", "[4]", "[2, 3, 4, 4]"}));
  CHECK(mentions(error_of([&] { batch_norm(x, ok, ok, {}, bad, true); }),
                 {"batch_norm", "[4]", "[2, 3, 4, 4]"}));
  CHECK(mentions(error_of([&] { batch_norm(x, ok, ok, f64, {}, true); }), {"batch_norm", "f32", "f64"}));
  CHECK(mentions(error_of([&] { batch_norm(x, {}, {}, {}, {}, false); }), {"batch_norm", "running_mean"}));
  CHECK(mentions(error_of([&] { batch_norm(x, ok, {}, {}, {}, true); }), {"batch_norm", "running_var"}));
  CHECK(mentions(error_of([] { batch_norm(zeros({4}), {}, {}, {}, {}, true); }), {"batch_norm", "[4]"}));
}
