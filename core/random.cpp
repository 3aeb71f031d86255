#include "core/random.h"

#include <numeric>

#include "kernels/random.h"

namespace evenkeel {
namespace {

void check_stream(const RandomKey& key) {
  EK_CHECK(key.stream >> 32 == 0, "random: stream {} is past 2^32", key.stream);
}

}  // namespace

Generator& default_generator() {
  static Generator generator;
  return generator;
}

void manual_seed(std::uint64_t seed) { default_generator() = Generator(seed); }

Tensor uniform(const Shape& shape, double low, double high, RandomKey key, TensorOptions options) {
  check_stream(key);
  EK_CHECK(low <= high, "uniform: low {} is above high {}", low, high);
  Tensor y = empty(shape, options);
  dispatch_floating(options.dtype, [&]<typename T>() {
    const RandomArgs<T> args{y.mutable_data<T>(), key, low, high, y.numel()};
    EK_DISPATCH(options.device, uniform, args);
  });
  return y;
}

Tensor normal(const Shape& shape, double mean, double std, RandomKey key, TensorOptions options) {
  check_stream(key);
  Tensor y = empty(shape, options);
  dispatch_floating(options.dtype, [&]<typename T>() {
    const RandomArgs<T> args{y.mutable_data<T>(), key, mean, std, y.numel()};
    EK_DISPATCH(options.device, normal, args);
  });
  return y;
}

Tensor rand(const Shape& shape, TensorOptions options) {
  return uniform(shape, 0, 1, default_generator().next(RandomPurpose::tensor), options);
}

Tensor randn(const Shape& shape, TensorOptions options) {
  return normal(shape, 0, 1, default_generator().next(RandomPurpose::tensor), options);
}

__extension__ typedef unsigned __int128 Wide;

std::vector<std::int64_t> permutation(std::int64_t n, RandomKey key) {
  check_stream(key);
  std::vector<std::int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  for (std::int64_t i = n - 1; i > 0; --i) {
    const auto bits = philox(key, static_cast<std::uint64_t>(i));
    const std::uint64_t wide = std::uint64_t{bits[0]} << 32 | bits[1];
    // wide / 2^64 * (i + 1), rounded down: uniform on 0..i to within (i + 1) / 2^64.
    const auto j = static_cast<std::int64_t>(static_cast<Wide>(wide) * static_cast<Wide>(i + 1) >> 64);
    std::swap(order[i], order[j]);
  }
  return order;
}

}  // namespace evenkeel
