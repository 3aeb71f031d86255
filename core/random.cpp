#include "evenkeel/core/random.h"
#include "evenkeel/core/dispatch.h"

#include <cmath>
#include <mutex>

#include "evenkeel/kernels/permutation.h"
#include "evenkeel/kernels/random.h"

namespace evenkeel {
namespace {

void check_stream(const RandomKey& key) {
  EK_CHECK(key.stream >> 32 == 0, "random: stream {} is past 2^32", key.stream);
}

}  // namespace

Generator& Generator::operator=(const Generator& other) {
  const State state = other.state();
  const std::lock_guard lock(mutex_);
  state_ = state;
  return *this;
}

Generator::State Generator::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

RandomKey Generator::next(RandomPurpose purpose) {
  const std::lock_guard lock(mutex_);
  return {state_.seed, purpose, state_.count++ - state_.recorded_from, state_.used_before};
}

void Generator::set_count(std::uint64_t count) {
  const std::lock_guard lock(mutex_);
  state_.count = count;
}

Generator& default_generator() {
  static Generator generator;
  return generator;
}

void manual_seed(std::uint64_t seed) { default_generator() = Generator(seed); }

Tensor uniform(const Shape& shape, double low, double high, RandomKey key, TensorOptions options) {
  check_stream(key);
  EK_CHECK(low <= high, "uniform: low {} is not at or below high {}", low, high);
  Tensor y = empty(shape, options);
  dispatch_floating(options.dtype, [&]<typename T>() {
    for (double bound : {low, high, high - low}) {
      EK_CHECK(std::isfinite(static_cast<T>(bound)), "uniform: the range from {} to {} does not fit in {}",
               low, high, name_of(options.dtype));
    }
    const RandomArgs<T> args{.y = y.mutable_data<T>(), .key = key, .a = low, .b = high, .n = y.numel()};
    run_kernel<cpu::uniform<T>, cuda::uniform<T>>("uniform", options.device, args);
  });
  return y;
}

Tensor normal(const Shape& shape, double mean, double std, RandomKey key, TensorOptions options) {
  check_stream(key);
  EK_CHECK(std >= 0, "normal: std is {}, which is not 0 or more", std);
  Tensor y = empty(shape, options);
  dispatch_floating(options.dtype, [&]<typename T>() {
    const RandomArgs<T> args{.y = y.mutable_data<T>(), .key = key, .a = mean, .b = std, .n = y.numel()};
    run_kernel<cpu::normal<T>, cuda::normal<T>>("normal", options.device, args);
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
  const PermutationArgs args{.order = order.mutable_data<std::int64_t>(), .key = key, .n = n};
  run_kernel<cpu::permutation, cuda::permutation>("permutation", device, args);
  return order;
}

std::vector<std::int64_t> permutation(std::int64_t n, RandomKey key) {
  return permutation(n, key, Device::cpu()).to_vector<std::int64_t>();
}

RecordedDraws::RecordedDraws(Generator& generator, const std::uint64_t* used_before)
    : generator_(generator), before_(generator.count()) {
  const std::lock_guard lock(generator.mutex_);
  generator.state_.recorded_from = before_;
  generator.state_.used_before = used_before;
}

RecordedDraws::~RecordedDraws() {
  const std::lock_guard lock(generator_.mutex_);
  generator_.state_ = {.seed = generator_.state_.seed, .count = before_};
}

std::uint64_t RecordedDraws::used() const { return generator_.count() - before_; }

}  // namespace evenkeel
