// Data sets and the batches taken from them.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include "compare.h"
#include "evenkeel/nn/data.h"
#include "evenkeel/nn/functional.h"

using namespace evenkeel;
using namespace evenkeel::test;
using data::Dataset;

namespace {

/// `count` images of 2 x 3 pixels: all pixels of image i are i, and so is its label modulo 10.
Dataset numbered_images(std::int64_t count) {
  std::vector<std::uint8_t> pixels(count * 6), labels(count);
  for (std::int64_t i = 0; i < count; ++i) {
    std::fill_n(pixels.begin() + i * 6, 6, static_cast<std::uint8_t>(i));
    labels[i] = static_cast<std::uint8_t>(i % 10);
  }
  return {from_vector(pixels, {count, 2, 3}), from_vector(labels, {count}), 0, 1};
}

/// The numbers of the images of numbered_images() that a batch has.
std::vector<int> numbers_in(const Tensor& images) {
  const std::vector<float> pixels = images.to_vector<float>();
  std::vector<int> numbers;
  for (std::size_t i = 0; i < pixels.size(); i += 6) {
    numbers.push_back(static_cast<int>(std::lround(pixels[i] * 255)));
  }
  return numbers;
}

std::vector<int> numbers_in_epoch(const Dataset& dataset, const data::BatchOptions& options) {
  std::vector<int> all;
  for (const auto& [images, labels] : dataset.batches(options)) {
    const std::vector<int> some = numbers_in(images);
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace

TEST_CASE("a data set needs a label for each image, and a class for each label") {
  const Tensor images = zeros({2, 4, 4}, {DType::u8});
  const auto make = [&](const std::vector<std::int64_t>& labels) {
    Dataset(images, from_vector(labels, {std::ssize(labels)}), 0, 1);
  };
  make({0, 9});
  CHECK(mentions(error_of([&] { make({0}); }), {"2 images", "[2]", "[1]"}));
  CHECK_THROWS_AS(make({0, 10}), DataError);
  CHECK(mentions(error_of([&] { make({0, 10}); }), {"label of image 1 is 10", "10 classes"}));
  CHECK_THROWS_AS(make({-1, 0}), DataError);
  CHECK(mentions(error_of([&] {
                   Dataset(zeros({2, 4}, {DType::u8}), zeros({2}, {DType::u8}), 0, 1);
                 }),
                 {"[2, 4]"}));
  CHECK(mentions(error_of([&] { Dataset(zeros({2, 4, 4}), zeros({2}, {DType::u8}), 0, 1); }), {"f32"}));
  CHECK(mentions(error_of([&] { Dataset(images, zeros({2}, {DType::u8}), 0, 0); }), {"standard deviation"}));
}

TEST_CASE("an epoch has every image once, with its label, and a smaller batch last") {
  const Dataset dataset = numbered_images(23);
  for (const bool shuffle : {false, true}) {
    const data::Batches batches = dataset.batches({.size = 5, .shuffle = shuffle});
    CHECK(batches.count() == 5);
    std::vector<int> seen;
    std::int64_t batch = 0;
    for (const auto& [images, labels] : batches) {
      const std::int64_t n = batch++ < 4 ? 5 : 3;
      CHECK(images.shape() == Shape{n, 1, 2, 3});
      CHECK(labels.shape() == Shape{n});
      CHECK(images.dtype() == DType::f32);
      const std::vector<int> numbers = numbers_in(images);
      std::vector<std::int64_t> expected;
      for (const int number : numbers) expected.push_back(number % 10);
      CHECK(labels.to_vector<std::int64_t>() == expected);
      seen.insert(seen.end(), numbers.begin(), numbers.end());
    }
    std::vector<int> all(23);
    std::iota(all.begin(), all.end(), 0);
    CHECK((seen == all) == !shuffle);
    std::sort(seen.begin(), seen.end());
    CHECK(seen == all);
  }
}

TEST_CASE("the first images of a data set are a data set") {
  const Dataset few = numbered_images(23).first(7);
  CHECK(few.size() == 7);
  CHECK(numbers_in_epoch(few, {.size = 3, .shuffle = false}) == std::vector{0, 1, 2, 3, 4, 5, 6});
  CHECK(numbered_images(23).first(0).size() == 0);
  CHECK(mentions(error_of([] { numbered_images(23).first(24); }), {"24", "23"}));
}

TEST_CASE("the batches divide an epoch whatever its size") {
  CHECK(numbered_images(0).batches({.size = 4}).count() == 0);
  CHECK(numbered_images(4).batches({.size = 4}).count() == 1);
  CHECK(numbered_images(5).batches({.size = 4}).count() == 2);
  CHECK(numbered_images(5).batches({.size = 64}).get(0).labels.size(0) == 5);
  const Dataset dataset = numbered_images(5);
  for (std::int64_t size : {INT64_MAX, INT64_MAX - 3, std::int64_t{6}}) {
    CHECK(dataset.batches({.size = size}).count() == 1);
    CHECK(numbers_in_epoch(dataset, {.size = size, .shuffle = false}) == std::vector{0, 1, 2, 3, 4});
  }
  CHECK(mentions(error_of([&] { dataset.batches({.size = 0}); }), {"0 images", "at least 1"}));
  CHECK(mentions(error_of([&] { dataset.batches({.size = 4}).get(2); }), {"batch 2", "there are 2"}));
  CHECK(mentions(error_of([&] { dataset.batches({.rotate = -1}); }), {"-1 degrees"}));
  CHECK(mentions(error_of([&] { dataset.batches({.rotate = std::nan("")}); }), {"nan degrees"}));
}

TEST_CASE("the order is a function of seed and epoch") {
  const Dataset dataset = numbered_images(100);
  const std::vector<int> order = numbers_in_epoch(dataset, {.size = 7, .seed = 3, .epoch = 2});
  CHECK(order == numbers_in_epoch(dataset, {.size = 7, .seed = 3, .epoch = 2}));
  CHECK(order == numbers_in_epoch(dataset, {.size = 64, .seed = 3, .epoch = 2}));
  CHECK(order != numbers_in_epoch(dataset, {.size = 7, .seed = 3, .epoch = 3}));
  CHECK(order != numbers_in_epoch(dataset, {.size = 7, .seed = 4, .epoch = 2}));
}

TEST_CASE("pixels are divided by 255 and normalised") {
  const Dataset dataset(from_vector(std::vector<std::uint8_t>{0, 255, 51, 102}, {1, 2, 2}),
                        zeros({1}, {DType::u8}), 0.25, 0.5);
  const std::vector<float> y = dataset.batches({}).get(0).images.to_vector<float>();
  const std::vector<double> expected = {-0.5, 1.5, -0.1, 0.3};
  for (std::size_t i = 0; i < 4; ++i) CHECK(std::abs(y[i] - expected[i]) < 1e-6);
}

TEST_CASE("each image is turned by an angle of its own, of its number and not of its place") {
  Random random;
  const std::int64_t n = 40, size = 28;
  const Tensor images = random.uniform({n, size, size}, {}, 0, 256).to(DType::u8);
  const Dataset dataset(images, zeros({n}, {DType::u8}), 0.1, 0.3);
  // The same images in order, with the angles that the key of the epoch gives.
  const double most = 7 * std::acos(-1.0) / 180;
  const Tensor angles = uniform({n}, -most, most, {5, RandomPurpose::rotate, 9});
  const Tensor expected = rotate_normalize(images, arange(0, n), angles, 0.1, 0.3);
  const auto get = [&](bool shuffle, double rotate) {
    return dataset.batches({.size = n, .shuffle = shuffle, .seed = 5, .epoch = 9, .rotate = rotate})
        .get(0)
        .images;
  };
  CHECK(same_bits(get(false, 7), expected));
  CHECK_FALSE(same_bits(get(false, 0), expected));
  const Tensor shuffled = get(true, 7);
  const std::vector<std::int64_t> order = permutation(n, {5, RandomPurpose::shuffle, 9});
  for (std::int64_t i = 0; i < n; ++i) {
    CHECK(same_bits(shuffled.slice(0, i, i + 1), expected.slice(0, order[i], order[i] + 1)));
  }
}

TEST_CASE("batches are the same on every device") {
  Random random;
  const std::int64_t n = 40;
  const Dataset dataset(random.uniform({n, 28, 28}, {}, 0, 256).to(DType::u8),
                        random.labels(n, 10, Device::cpu()), 0.1, 0.3);
  for (const Device device : devices()) {
    INFO(device.str());
    const Dataset here = dataset.to(device);
    CHECK(here.images().device() == device);
    for (const double rotate : {0.0, 7.0}) {
      data::BatchOptions options{.size = 16, .seed = 5, .epoch = 2, .rotate = rotate};
      const data::Batches expected = dataset.batches(options);
      options.device = device;
      options.epoch = 1;
      data::Batches batches = here.batches(options);
      batches.begin_epoch(2);
      for (std::int64_t i = 0; i < batches.count(); ++i) {
        const data::Batch a = batches.get(i), b = expected.get(i);
        CHECK(a.images.device() == device);
        CHECK(same_bits(a.images.to(Device::cpu()), b.images));
        CHECK(same_bits(a.labels.to(Device::cpu()), b.labels));
      }
      // From anywhere in the epoch.
      const data::Batch a = batches.get_from(full({1}, 16, {DType::i64, device}));
      CHECK(same_bits(a.images.to(Device::cpu()), expected.get(1).images));
      CHECK(same_bits(a.labels.to(Device::cpu()), expected.get(1).labels));
    }
  }
}

TEST_CASE("take_batch refuses what does not fit") {
  const ImageSource source{zeros({3, 4, 4}, {DType::u8}), zeros({3}, {DType::i64}), {}, 0, 1};
  const Tensor index = zeros({2}, {DType::i64});
  const auto message = [&](const auto& change, std::int64_t N = 2, const Tensor& first = {}) {
    ImageSource other = source;
    change(other);
    return error_of([&] { take_batch(other, index, first, N); });
  };
  const auto none = [](ImageSource&) {};
  CHECK(take_batch(source, index, {}, 1).first.shape() == Shape{1, 1, 4, 4});
  CHECK(mentions(message(none, 3), {"take_batch", "3 images of 2"}));
  CHECK(mentions(message(none, 2, zeros({1})), {"take_batch", "first is f32"}));
  CHECK(mentions(message([](auto& s) { s.labels = zeros({2}, {DType::i64}); }), {"labels", "[2]", "[3]"}));
  CHECK(mentions(message([](auto& s) { s.angles = zeros({2}); }), {"angles", "[2]", "[3]"}));
  CHECK(mentions(message([](auto& s) { s.images = zeros({3, 4, 4}); }), {"take_batch", "f32"}));
}
