// train_mnist on a few images that it makes up: for tests of everything but the learning, hundreds of runs a
// minute.
#include "program.h"
#include "train_program.h"

using namespace evenkeel;

namespace {

/// `count` images of 28 x 28, of ten patterns that their label tells apart.
data::Dataset made_up(std::int64_t count) {
  std::vector<std::uint8_t> pixels;
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < count; ++i) {
    labels.push_back(i * 7 % 10);
    for (std::int64_t p = 0; p < 28 * 28; ++p) {
      pixels.push_back(static_cast<std::uint8_t>((p * (labels.back() + 3) + p / 28 * i) % 251));
    }
  }
  return {from_vector(pixels, {count, 28, 28}), from_vector(labels, {count}), 0.5, 0.25};
}

}  // namespace

int main(int argc, char** argv) {
  return app::run_program("train_mnist", [&] {
    app::train_program(argc, argv, [](const app::RunOptions&) {
      return app::Mnist{made_up(96), made_up(40)};
    });
  });
}
