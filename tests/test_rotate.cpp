// Images taken out of a data set, rotated, and normalised.
#include <cmath>
#include <numbers>

#include "compare.h"
#include "evenkeel/nn/functional.h"
#include "reference/rotate.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

constexpr double kMean = 0.1307, kStd = 0.3081;

Tensor random_images(const Shape& shape, Random& random) {
  return random.uniform(shape, {DType::f64}, 0, 256).to(DType::u8);
}

/// Image n of u8 [count, H, W] as the reference wants it.
Array image(const Tensor& images, std::int64_t n) {
  return to_array(images.slice(0, n, n + 1).reshape({images.size(1), images.size(2)}));
}

/// (pixel / 255 - mean) / std of each image, rotated; also whether rounding in f32 could choose another pixel
/// anywhere.
struct Expected {
  Array y;
  double margin = 1;

  Expected(const Tensor& images, const std::vector<std::int64_t>& index, const std::vector<float>& angles)
      : y({static_cast<reference::Index>(index.size()), 1, images.size(1), images.size(2)}) {
    const auto plane = images.size(1) * images.size(2);
    for (std::size_t n = 0; n < index.size(); ++n) {
      const double angle = angles.empty() ? 0 : static_cast<double>(angles[n]);
      const auto rotated = reference::rotate(image(images, index[n]), angle);
      margin = std::min(margin, rotated.margin);
      y.values.segment(static_cast<reference::Index>(n) * plane, plane) =
          (rotated.pixels.values / 255 - kMean) / kStd;
    }
  }
};

void check(const Tensor& images, const std::vector<std::int64_t>& index, const std::vector<float>& angles) {
  const Expected expected(images, index, angles);
  REQUIRE(expected.margin > 1e-5);
  const Shape n{static_cast<std::int64_t>(index.size())};
  for (Device device : devices()) {
    INFO("images " << images.shape().str() << " on " << device.str());
    const Tensor by = angles.empty() ? Tensor() : from_vector(angles, n, device);
    const Tensor y = rotate_normalize(images.to(device), from_vector(index, n, device), by, kMean, kStd);
    CHECK(y.dtype() == DType::f32);
    CHECK(close(y, expected.y));
  }
}

/// A random angle for image n. Where a source coordinate lies on the border between two pixels, rounding
/// decides which one is read, and no test can tell: such angles are drawn again.
float clear_angle(const Tensor& images, std::int64_t n, double low, double high, Random& random) {
  for (;;) {
    const auto angle = static_cast<float>(random.uniform({}, {DType::f64}, low, high).item());
    if (reference::rotate(image(images, n), static_cast<double>(angle)).margin > 1e-5) return angle;
  }
}

constexpr float radians(double degrees) { return static_cast<float>(degrees * std::numbers::pi / 180); }

/// The first angle from `degrees` on, in radians, at which no source coordinate lies on the border between
/// two pixels, where rounding decides and no test can tell.
float without_ties(const Tensor& images, std::int64_t n, double degrees) {
  while (reference::rotate(image(images, n), static_cast<double>(radians(degrees))).margin < 2e-5)
    degrees += 0.01;
  return radians(degrees);
}

}  // namespace

TEST_CASE("rotation agrees with the reference for small random angles") {
  Random random;
  const Tensor images = random_images({9, 28, 28}, random);
  std::vector<std::int64_t> index;
  std::vector<float> angles;
  for (std::int64_t n = 0; n < 33; ++n) {
    index.push_back(n * 7 % 9);  // out of order, and each more than once
    angles.push_back(clear_angle(images, index.back(), radians(-7), radians(7), random));
  }
  check(images, index, angles);
}

TEST_CASE("rotation agrees with the reference for large angles, odd sizes and oblong images") {
  Random random;
  for (const Shape& shape :
       {Shape{3, 28, 28}, Shape{3, 7, 7}, Shape{3, 5, 9}, Shape{3, 12, 6}, Shape{3, 1, 8}}) {
    const Tensor images = random_images(shape, random);
    std::vector<float> angles;
    for (double degrees : {41.0, -77.7, 200.3}) angles.push_back(without_ties(images, 0, degrees));
    check(images, {2, 0, 1}, angles);
  }
}

TEST_CASE("quarter turns move pixels exactly") {
  const Tensor images = from_vector<std::uint8_t>({1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 3, 3});
  const auto turned = [&](double degrees) {
    const Tensor y =
        rotate_normalize(images, zeros({1}, {DType::i64}), tensor({radians(degrees)}), 0, 1 / 255.0);
    std::vector<int> pixels;
    for (float value : y.to_vector<float>()) pixels.push_back(static_cast<int>(std::lround(value)));
    return pixels;
  };
  // Output (i, j) reads row (j - 1) + 1 and column 1 - (i - 1) for 90 degrees.
  CHECK(turned(90) == std::vector<int>{3, 6, 9, 2, 5, 8, 1, 4, 7});
  CHECK(turned(180) == std::vector<int>{9, 8, 7, 6, 5, 4, 3, 2, 1});
  CHECK(turned(-90) == std::vector<int>{7, 4, 1, 8, 5, 2, 9, 6, 3});
  CHECK(turned(360) == std::vector<int>{1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("without angles, and with angles of zero, pixels stay in place") {
  Random random;
  const Tensor images = random_images({4, 28, 28}, random);
  check(images, {3, 3, 0}, {});
  check(images, {3, 3, 0}, {0, 0, 0});
  check(random_images({2, 5, 7}, random), {1}, {});
}

TEST_CASE("corners that come from outside are background") {
  const Tensor images = full({1, 9, 9}, 255, {DType::u8});
  const Tensor y = rotate_normalize(images, zeros({1}, {DType::i64}), tensor({radians(45)}), kMean, kStd);
  const Array values = to_array(y);
  const double background = -kMean / kStd, white = (1 - kMean) / kStd;
  CHECK(std::abs(values(0, 0, 0, 0) - background) < 1e-5);
  CHECK(std::abs(values(0, 0, 8, 8) - background) < 1e-5);
  CHECK(std::abs(values(0, 0, 4, 4) - white) < 1e-5);
}

TEST_CASE("a full batch does not depend on the number of threads, and none is a batch too") {
  Random random;
  const Tensor images = random_images({64, 28, 28}, random), index = arange(0, 64);
  const Tensor angles = random.uniform({64}, {}, -0.1, 0.1);
  check_independent_of_threads(
      [&] { return std::vector{rotate_normalize(images, index, angles, kMean, kStd)}; });
  CHECK(rotate_normalize(images, zeros({0}, {DType::i64}), {}, kMean, kStd).shape() == Shape{0, 1, 28, 28});
}

TEST_CASE("rotate_normalize takes views") {
  Random random;
  const Tensor images = random_images({4, 9, 9}, random);
  const Tensor index = from_vector<std::int64_t>({3, 9, 1, 9}, {4}).slice(0, 0, 4, 2);
  const Tensor y = rotate_normalize(transposed_in_memory(images), index, {}, kMean, kStd);
  CHECK(close(y, Expected(images, {3, 1}, {}).y));
}

TEST_CASE("rotate_normalize refuses what does not fit") {
  const Tensor images = zeros({3, 4, 4}, {DType::u8}), index = zeros({2}, {DType::i64});
  const auto message = [&](const Tensor& from, const Tensor& which, const Tensor& by) {
    return error_of([&] { rotate_normalize(from, which, by, 0, 1); });
  };
  CHECK(mentions(message(zeros({3, 4, 4}), index, {}), {"rotate_normalize", "f32", "[3, 4, 4]"}));
  CHECK(mentions(message(zeros({4, 4}, {DType::u8}), index, {}), {"rotate_normalize", "[4, 4]"}));
  CHECK(mentions(message(images, zeros({2}), {}), {"rotate_normalize", "f32", "[2]"}));
  CHECK(mentions(message(images, zeros({2, 1}, {DType::i64}), {}), {"rotate_normalize", "[2, 1]"}));
  CHECK(mentions(message(images, index, zeros({3})), {"rotate_normalize", "[3]", "[2]"}));
  CHECK(mentions(message(images, index, zeros({2}, {DType::f64})), {"rotate_normalize", "f64"}));
  CHECK(mentions(message(images, full({1}, 3, {DType::i64}), {}), {"rotate_normalize", "3"}));
  CHECK(mentions(message(images, full({1}, -1, {DType::i64}), {}), {"rotate_normalize", "-1"}));
}

TEST_CASE("take_batch reads views by their strides") {
  for (Device device : devices()) {
    const Tensor images = arange(0, 48).to(DType::u8).to(device).reshape({3, 4, 4});
    const Tensor labels = arange(5, 8).to(device), order = arange(0, 2).to(device);
    const Tensor angles = zeros({3}, {DType::f32, device});
    const auto [expected, expected_labels] = take_batch({images, labels, angles, 0, 1}, order, {}, 2);
    const auto [batch, of_images] = take_batch(
        {transposed_in_memory(images), with_gaps(labels), with_gaps(angles), 0, 1}, with_gaps(order), {}, 2);
    CHECK(same_bits(batch, expected));
    CHECK(same_bits(of_images, expected_labels));
  }
}
