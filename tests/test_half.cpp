// bf16 and f16: their rounding, on every device, and what can be done with tensors that are stored in them.
// How ops compute on them is in the tests of the ops.
#include <bit>
#include <cmath>
#include <limits>

#include "compare.h"
#include "evenkeel/core/autograd.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/functional.h"
#include "evenkeel/nn/layers.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

constexpr int kPatterns = 1 << 16;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <typename T>
T from_bits(int bits) {
  T value;
  value.bits = static_cast<std::uint16_t>(bits);
  return value;
}

/// Digits after the point, and the exponent of 1.
template <typename T>
constexpr int kDigits = std::is_same_v<T, bf16> ? 7 : 10;
template <typename T>
constexpr int kBias = std::is_same_v<T, bf16> ? 127 : 15;

/// The value of a pattern that is no NaN, from its definition.
template <typename T>
double value_of(int bits) {
  const int one = 1 << kDigits<T>, digits = bits % one, exponent = (bits & 0x7fff) / one;
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 2 * kBias<T> + 1) return sign * kInfinity;
  const double scale = std::ldexp(1.0, std::max(exponent, 1) - kBias<T> - kDigits<T>);
  return sign * scale * (exponent == 0 ? digits : one + digits);
}
/// The first pattern after the finite ones: infinity.
template <typename T>
constexpr int kInfinite = (2 * kBias<T> + 1) << kDigits<T>;

template <typename T>
bool is_nan_pattern(int bits) {
  return (bits & 0x7fff) > kInfinite<T>;
}

/// f32 numbers and the patterns that they round to: all of T, the middle between each two neighbours, where
/// the even one of them wins, and the f32 numbers just below and above it.
template <typename T>
struct Roundings {
  std::vector<float> from;
  std::vector<int> to;

  void add(double value, int bits) {
    for (const int sign : {0, 0x8000}) {
      from.push_back(static_cast<float>(sign == 0 ? value : -value));
      to.push_back(bits | sign);
    }
  }
  Roundings() {
    for (int low = 0; low < kInfinite<T>; ++low) {
      const int high = low + 1, even = low % 2 == 0 ? low : high;
      // Where infinity is next, the number that would follow the largest stands for it.
      const double gap = value_of<T>(low) - value_of<T>(low - (low > 0));
      const double next = high < kInfinite<T> ? value_of<T>(high) : value_of<T>(low) + gap;
      const auto middle = static_cast<float>((value_of<T>(low) + next) / 2);
      add(value_of<T>(low), low);
      add(middle, even);
      add(std::nextafter(middle, 0.0f), low);
      add(std::nextafter(middle, std::numeric_limits<float>::infinity()), high);
    }
    add(kInfinity, kInfinite<T>);
    add(std::numeric_limits<float>::max(), kInfinite<T>);
    add(std::numeric_limits<float>::denorm_min(), 0);
  }
};

/// How many elements of `actual` have other bits than `expected`.
template <typename T>
int differences(const std::vector<T>& actual, const std::vector<int>& expected) {
  REQUIRE(actual.size() == expected.size());
  int wrong = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) wrong += actual[i].bits != expected[i];
  return wrong;
}

template <typename F>
void for_each_type(F f) {
  {
    INFO("bf16");
    f.template operator()<bf16>();
  }
  INFO("f16");
  f.template operator()<f16>();
}

/// A vector of all patterns.
template <typename T>
std::vector<T> all_patterns() {
  std::vector<T> all;
  for (int bits = 0; bits < kPatterns; ++bits) all.push_back(from_bits<T>(bits));
  return all;
}

}  // namespace

TEST_CASE("every pattern has its value in f32, and comes back from it, on every device") {
  for_each_type([]<typename T>() {
    for (Device device : devices()) {
      INFO(device.str());
      const Tensor x = from_vector(all_patterns<T>(), {kPatterns}, device);
      CHECK(x.dtype() == kDTypeOf<T>);
      const Tensor wide = x.to(DType::f32);
      const std::vector<float> values = wide.to_vector<float>();
      const std::vector<T> back = wide.to(kDTypeOf<T>).template to_vector<T>();
      int wrong = 0;
      for (int bits = 0; bits < kPatterns; ++bits) {
        const auto i = static_cast<std::size_t>(bits);
        if (is_nan_pattern<T>(bits)) {
          wrong += !std::isnan(values[i]) || !is_nan_pattern<T>(back[i].bits);
        } else {
          wrong += !(static_cast<double>(values[i]) == value_of<T>(bits)) || back[i].bits != bits;
        }
      }
      CHECK(wrong == 0);
    }
  });
}

TEST_CASE("f32 rounds to nearest, ties to even, from the smallest numbers to infinity, on every device") {
  for_each_type([]<typename T>() {
    const Roundings<T> expected;
    for (Device device : devices()) {
      INFO(device.str());
      const Tensor x = from_vector(expected.from, {static_cast<std::int64_t>(expected.from.size())}, device);
      CHECK(differences(x.to(kDTypeOf<T>).template to_vector<T>(), expected.to) == 0);
    }
  });
}

TEST_CASE("a NaN stays one, whichever of its bits are lost") {
  for_each_type([]<typename T>() {
    std::vector<float> nans;
    for (std::uint32_t bits : {0x7f800001u, 0x7f80ffffu, 0x7fffffffu, 0xff800001u, 0xffffffffu, 0x7fc00000u})
      nans.push_back(std::bit_cast<float>(bits));
    for (Device device : devices()) {
      const Tensor x = from_vector(nans, {static_cast<std::int64_t>(nans.size())}, device);
      for (double value : x.to(kDTypeOf<T>).template to_vector<double>()) CHECK(std::isnan(value));
    }
  });
}

TEST_CASE("f64 and integers become 16 bits by way of f32") {
  for (Device device : devices()) {
    CHECK(full({1}, 65504, {DType::f64, device}).to(DType::f16).item() == 65504);
    CHECK(full({1}, 65520, {DType::f64, device}).to(DType::f16).item() == kInfinity);
    CHECK(full({1}, 1e300, {DType::f64, device}).to(DType::bf16).item() == kInfinity);
    CHECK(full({1}, 257, {DType::i64, device}).to(DType::bf16).item() == 256);
    CHECK(full({1}, 259, {DType::i64, device}).to(DType::bf16).item() == 260);
    // 1 + 2^-8 + 2^-40: f32 drops the last term, and the tie that is left goes to even.
    CHECK(full({1}, 1 + 0x1p-8 + 0x1p-40, {DType::f64, device}).to(DType::bf16).item() == 1);
  }
}

TEST_CASE("16-bit tensors move, view and copy") {
  for_each_type([]<typename T>() {
    for (Device device : devices()) {
      INFO(device.str());
      const Tensor x = Random().normal({3, 5, 7}, {kDTypeOf<T>, device});
      CHECK(x.storage().bytes() == 2 * x.numel());
      CHECK(same_bits(x.to(Device::cpu()).to(device), x));
      CHECK(same_bits(x.transpose(0, 2).clone().transpose(0, 2), x));
      CHECK(same_bits(with_gaps(x), x));
      CHECK(same_bits(x.to(DType::f32).to(kDTypeOf<T>), x));
      CHECK(same_bits(x.to(DType::f64).to(kDTypeOf<T>), x));
    }
  });
}

TEST_CASE("add_ computes in f32 and rounds once, on every device") {
  for_each_type([]<typename T>() {
    for (Device device : devices()) {
      INFO(device.str());
      for (std::int64_t n : {1, 7, 8, 2049}) {  // below, at and past a vector, past a block
        Random random;
        const TensorOptions options{kDTypeOf<T>, device};
        Tensor y = random.normal({n}, options);
        const Tensor x = random.normal({n}, options), before = y.clone();
        y.add_(x, -3);
        CHECK(same_bits(y, (before.to(DType::f32) + x.to(DType::f32) * -3).to(kDTypeOf<T>)));
      }
    }
  });
}

TEST_CASE("add computes in f32 and rounds once") {
  for_each_16bit_kind([](TensorOptions options) {
    Random random;
    for (const Shape& shape : {Shape{1}, Shape{9}, Shape{3, 5, 7}, Shape{2049}}) {
      Tensor a = leaf(random.normal(shape, options)), b = leaf(random.normal(shape, options));
      const Tensor y = a + b, dy = random.normal(shape, options);
      CHECK(same_bits(y, (a.detach().to(DType::f32) + b.detach().to(DType::f32)).to(options.dtype)));
      y.backward(dy);
      CHECK(same_bits(a.grad(), dy));
      CHECK(same_bits(b.grad(), dy));
    }
    const Tensor a = random.normal({3, 4}, options), row = random.normal({4}, options);
    CHECK(same_bits(a + row, (a.to(DType::f32) + row.to(DType::f32)).to(options.dtype)));
    CHECK(same_bits(a.transpose(0, 1) + a.transpose(0, 1), (a + a).transpose(0, 1)));
    CHECK(same_bits(a + 1.0, (a.to(DType::f32) + 1.0).to(options.dtype)));
  });
}

TEST_CASE("gradients flow through conversions, and accumulate in 16 bits") {
  for_each_type([]<typename T>() {
    for (Device device : devices()) {
      INFO(device.str());
      Random random;
      const DType dtype = kDTypeOf<T>;
      Tensor x = leaf(random.normal({4, 5}, {DType::f32, device}));
      const Tensor half = x.to(dtype);
      const Tensor a = random.normal({4, 5}, {DType::f32, device}), b = random.normal({4, 5}, a.options());
      (half.to(DType::f32) * a).backward(ones({4, 5}, a.options()));
      CHECK(same_bits(x.grad(), a.to(dtype).to(DType::f32)));
      x.zero_grad();
      const Tensor used_twice = x.to(dtype);
      (used_twice.to(DType::f32) * a + used_twice.to(DType::f32) * b).backward(ones({4, 5}, a.options()));
      // The engine adds the two in either order.
      const Tensor sum = a.to(dtype).to(DType::f32) + b.to(dtype).to(DType::f32);
      CHECK(same_bits(x.grad(), sum.to(dtype).to(DType::f32)));

      Tensor stored = leaf(random.normal({4, 5}, {dtype, device}));
      for (int pass = 0; pass < 2; ++pass) (stored.to(DType::f32) * a).backward(ones({4, 5}, a.options()));
      CHECK(stored.grad().dtype() == dtype);
      CHECK(same_bits(stored.grad(), (a.to(dtype).to(DType::f32) * 2).to(dtype)));
    }
  });
}

TEST_CASE("what does not compute on 16 bits says so, and what to do") {
  for (Device device : devices()) {
    const Tensor x = zeros({2, 2}, {DType::bf16, device});
    const auto only_wide = [](const char* op) {
      return std::string(op) + ": computes in f32 and f64, not in bf16; convert with to(DType::f32)";
    };
    CHECK(error_of([&] { matmul(x, x); }) == only_wide("matmul"));
    CHECK(error_of([&] { x* x; }) == only_wide("mul"));
    CHECK(error_of([&] { exp(x); }) == only_wide("exp"));
    CHECK(error_of([&] { sum(x); }) == only_wide("sum"));
    CHECK(error_of([&] { log_softmax(x); }) == only_wide("log_softmax"));
    CHECK(mentions(error_of([&] { add(x, zeros({2, 2}, {DType::f32, device})); }), {"add", "bf16", "f32"}));
  }
  const Tensor x = zeros({2, 2}, {DType::f16});
  const auto only_cuda = [](const char* op) {
    return std::string(op) + ": f16 is computed on CUDA devices only; convert with to(DType::f32)";
  };
  CHECK(error_of([&] { add(x, x); }) == only_cuda("add"));
  CHECK(error_of([&] { batch_norm(x, {}, {}, {}, {}, true); }) == only_cuda("batch_norm"));
  CHECK(error_of([&] { group_norm(x, 2); }) == only_cuda("group_norm"));
  CHECK(error_of([&] { layer_norm(x, {2}); }) == only_cuda("layer_norm"));
  CHECK(error_of([&] { layer_norm2d(x); }) == only_cuda("layer_norm2d"));
  CHECK(error_of([&] { layer_norm(x, {2}, ones({2}, {DType::f16})); }) ==
        "layer_norm: x is f16, so its parameters must be f32, not f16; convert one with to()");
}

TEST_CASE("a module's parameters stay in f32") {
  nn::Conv2d conv(1, 2, 3);
  CHECK(error_of([&] { conv.to(DType::bf16); }) ==
        "to: parameters stay f32, from which bf16 activations are computed; convert the input with "
        "x.to(DType::bf16)");
  CHECK(mentions(error_of([&] { conv.to(DType::f16); }), {"x.to(DType::f16)"}));
  for (const Tensor& p : conv.parameters()) CHECK(p.dtype() == DType::f32);
}

TEST_CASE("a convolutional network in 16 bits gives the bits of one in f32 whose activations are rounded") {
  for_each_16bit_kind([](TensorOptions options) {
    manual_seed(1);
    nn::Sequential net{nn::Conv2d(1, 4, 3), nn::Conv2d(4, 8, 3), nn::Linear(8, 10)};
    net.to(options.device);
    Random random;
    const Tensor images = random.normal({3, 1, 12, 12}, {DType::f32, options.device}),
                 labels = random.labels(3, 10, options.device);
    // `store` rounds what is not stored in 16 bits; its gradient too. ReLU and max pooling round nothing.
    const auto run = [&](Tensor x, const auto& store) {
      x = max_pool2d(relu(store(net[0](x))), 2);
      x = store(global_avg_pool2d(relu(store(net[1](x)))));
      const Tensor loss = cross_entropy(net[2](x.to(DType::f32).reshape({3, 8})), labels);
      loss.backward();
      std::vector<Tensor> results{loss.detach()};
      for (const Tensor& p : net.parameters()) results.push_back(p.grad());
      net.zero_grad();
      return results;
    };
    const auto round = [&](const Tensor& x) { return x.to(options.dtype).to(DType::f32); };
    const std::vector<Tensor> stored = run(images.to(options.dtype), [&](const Tensor& x) {
      CHECK(x.dtype() == options.dtype);
      return x;
    });
    const std::vector<Tensor> rounded = run(round(images), round);
    const std::vector<Tensor> wide = run(images, [](const Tensor& x) { return x; });
    for (std::size_t i = 0; i < wide.size(); ++i) {
      INFO("result " << i);
      CHECK(same_bits(stored[i], rounded[i]));
      CHECK(stored[i].to_vector<float>() != wide[i].to_vector<float>());
    }
  });
}
