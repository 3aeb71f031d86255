#include "core/random.h"

#include "kernels/permutation.h"
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

Tensor permutation(std::int64_t n, RandomKey key, Device device) {
  check_stream(key);
  Tensor order = empty({n}, {DType::i64, device});
  const PermutationArgs args{order.mutable_data<std::int64_t>(), key, n};
  EK_DISPATCH(device, permutation, args);
  return order;
}

std::vector<std::int64_t> permutation(std::int64_t n, RandomKey key) {
  return permutation(n, key, Device::cpu()).to_vector<std::int64_t>();
}

RecordedDraws::RecordedDraws(const std::uint64_t* used_before) : before_(default_generator().count()) {
  default_generator().recorded_from_ = before_;
  default_generator().used_before_ = used_before;
}

RecordedDraws::~RecordedDraws() {
  default_generator().set_count(before_);
  default_generator().recorded_from_ = 0;
  default_generator().used_before_ = nullptr;
}

std::uint64_t RecordedDraws::used() const { return default_generator().count() - before_; }

}  // namespace evenkeel
