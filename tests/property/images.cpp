// rotate_normalize and take_batch.
#include <cmath>

#include "evenkeel/nn/functional.h"
#include "property/families.h"
#include "reference/rotate.h"

namespace evenkeel::property {
namespace {

struct Images {
  Index count, H, W;
  std::vector<std::uint8_t> pixels;
};

Images draw_images(Gen& gen) {
  Images images{gen.integer(1, 5), gen.integer(0, 17), gen.integer(0, 17), {}};
  images.pixels.resize(static_cast<std::size_t>(images.count * images.H * images.W));
  for (std::uint8_t& pixel : images.pixels) pixel = static_cast<std::uint8_t>(gen.integer(0, 255));
  return images;
}

/// What comes out for an image; false where a pixel is so near a tie that rounding decides.
bool expected_image(const Images& images, Index which, double angle, double mean, double std, Array& result) {
  Array image({images.H, images.W});
  for (Index i = 0; i < image.numel(); ++i)
    image.values[i] = images.pixels[static_cast<std::size_t>(which * image.numel() + i)];
  const reference::Rotated rotated = reference::rotate(image, angle);
  result = rotated.pixels;
  result.values = (result.values / 255 - mean) / std;
  return angle == 0 || rotated.margin > 1e-4;
}

void compare_images(const Images& images, const Tensor& y, const Operand& index,
                    const std::vector<double>& angle, double mean, double std) {
  const Index N = index.values.numel();
  if (y.shape() != Shape{N, 1, images.H, images.W} || y.dtype() != DType::f32)
    fail_case("y has shape " + y.shape().str());
  const Array all = to_array(y);
  for (Index n = 0; n < N; ++n) {
    Array expected;
    const auto which = static_cast<Index>(index.values.values[n]);
    if (!expected_image(images, which, angle[static_cast<std::size_t>(n)], mean, std, expected)) continue;
    Array image({images.H, images.W});
    image.values = all.values.segment(n * images.H * images.W, images.H * images.W);
    for (Index i = 0; i < image.numel(); ++i)
      if (!(std::abs(image.values[i] - expected.values[i]) <= 1e-5 * (1 + std::abs(expected.values[i]))))
        fail_case(fmt::format("image {}, pixel {}: {:.9g}, expected {:.9g}", n, i, image.values[i],
                              expected.values[i]));
  }
}

void images_case(Gen& gen) {
  const Images images = draw_images(gen);
  const Tensor source = from_vector(images.pixels, {images.count, images.H, images.W}, gen.device());
  const Index N = gen.size();
  const Operand index = gen.labels(N, images.count);
  const double mean = gen.uniform(0, 1), std = gen.uniform(0.1, 1);
  const bool rotated = gen.chance(60);
  Operand angles = gen.operand({N}, false);
  angles.gradient = false;
  if (!rotated) angles = Gen::undefined();
  std::vector<double> angle(static_cast<std::size_t>(N), 0);
  for (Index i = 0; rotated && i < N; ++i) angle[static_cast<std::size_t>(i)] = angles.values.values[i];
  const auto run = [&] {
    return rotate_normalize(source, make_tensor(index, DType::f32, gen.device()),
                            make_tensor(angles, DType::f32, gen.device()), mean, std);
  };
  set_memory_poison(0xff);
  const Tensor y = run();
  compare_images(images, y, index, angle, mean, std);
  set_memory_poison(0x41);
  must_have_bits("y with other poison", to_array(y), to_array(run()));
  if (N > 0 && gen.device().is_cpu()) {
    Operand wrong = index;
    wrong.layout.repeated = {false};
    wrong.values.values[gen.integer(0, N - 1)] =
        static_cast<double>(gen.pick({images.count, -1, INT64_MIN / 2, Index{1} << 40}));
    must_refuse("rotate_normalize", "an index is out of range", [&] {
      rotate_normalize(source, make_tensor(wrong, DType::f32, gen.device()), {}, mean, std);
    });
  }
}

void take_batch_case(Gen& gen) {
  const Images images = draw_images(gen);
  std::vector<std::int64_t> labels;
  for (Index i = 0; i < images.count; ++i) labels.push_back(gen.integer(0, 9));
  // "Dense and on one device" is asked for: views may be refused, but not read as if they were dense.
  Operand order = gen.labels(gen.integer(1, 40), images.count);
  const Index first = gen.integer(0, order.values.numel()), N = gen.integer(0, order.values.numel() - first);
  const ImageSource source{from_vector(images.pixels, {images.count, images.H, images.W}, gen.device()),
                           from_vector(labels, {images.count}, gen.device()),
                           {},
                           0.25,
                           0.5};
  const Tensor start = from_vector(std::vector<std::int64_t>{first}, {}, gen.device());
  const Tensor index = make_tensor(order, DType::f32, gen.device());
  std::pair<Tensor, Tensor> batch;
  try {
    batch = take_batch(source, index, start, N);
  } catch (const Error& error) {
    if (index.is_contiguous()) fail_case(fmt::format("take_batch was refused: {}", error.what()));
    return must_refuse("take_batch", "the index is no dense tensor",
                       [&] { take_batch(source, index, start, N); });
  }
  Operand taken;
  taken.values = Array({N});
  Array expected({N});
  for (Index i = 0; i < N; ++i) {
    taken.values.values[i] = order.values.values[first + i];
    expected.values[i] = static_cast<double>(labels[static_cast<std::size_t>(taken.values.values[i])]);
  }
  compare_images(images, batch.first, taken, std::vector<double>(static_cast<std::size_t>(N), 0), 0.25, 0.5);
  must_equal(fmt::format("labels of index {}", describe(order)), batch.second, expected);
  for (const Index count : {order.values.numel() + 1, Index{-1}, gen.huge()})
    must_refuse("take_batch", fmt::format("{} images are too many", count),
                [&] { take_batch(source, index, {}, count); });
}

}  // namespace

void add_images(std::vector<Property>& all) {
  all.insert(all.end(), {{"rotate_normalize", images_case}, {"take_batch", take_batch_case}});
}

}  // namespace evenkeel::property
