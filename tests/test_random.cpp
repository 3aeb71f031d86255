// Random numbers: the generator's known answers, and the distributions made from it.
#include "evenkeel/core/random.h"
#include "evenkeel/nn/functional.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "compare.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

using Words = std::vector<std::uint32_t>;

Words words(const RandomKey& key, std::uint64_t block) {
  const auto bits = philox(key, block);
  return {bits[0], bits[1], bits[2], bits[3]};
}

constexpr RandomKey kKey{42, RandomPurpose::tensor, 7};

struct Moments {
  double mean = 0, var = 0, skew = 0, kurtosis = 0, lowest = 0, highest = 0;
};

Moments moments(const std::vector<double>& x) {
  const double n = static_cast<double>(x.size());
  Moments m;
  m.mean = std::accumulate(x.begin(), x.end(), 0.0) / n;
  for (double v : x) {
    m.var += std::pow(v - m.mean, 2) / n;
    m.skew += std::pow(v - m.mean, 3) / n;
    m.kurtosis += std::pow(v - m.mean, 4) / n;
  }
  m.skew /= std::pow(m.var, 1.5);
  m.kurtosis /= m.var * m.var;
  m.lowest = *std::min_element(x.begin(), x.end());
  m.highest = *std::max_element(x.begin(), x.end());
  return m;
}

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const Moments ma = moments(a), mb = moments(b);
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - ma.mean) * (b[i] - mb.mean);
  return sum / static_cast<double>(a.size()) / std::sqrt(ma.var * mb.var);
}

}  // namespace

TEST_CASE("Philox4x32-10 gives the known answers of Random123") {
  // Counter and key all zeros, all ones, and the digits of pi, in the order of the words of the counter.
  CHECK(words({0, RandomPurpose{0}, 0}, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(words({~0ull, RandomPurpose{0xffffffff}, 0xffffffff}, ~0ull) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(words({0x299f31d0a4093822ull, RandomPurpose{0x03707344}, 0x13198a2e}, 0x85a308d3243f6a88ull) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("unit_interval covers [0, 1) and never reaches 1") {
  CHECK(unit_interval(0) == 0.0f);
  CHECK(unit_interval(0xff) == 0.0f);
  CHECK(unit_interval(0x80000000) == 0.5f);
  CHECK(unit_interval(0xffffffff) == 1 - 0x1p-24f);
}

TEST_CASE("number i of a stream is word i % 4 of block i / 4") {
  for_each_kind([](TensorOptions options) {
    for (std::int64_t n : {1, 3, 4, 5, 1001}) {  // 1001: ends inside a block, past any chunk
      INFO(n);
      const std::vector<double> u = uniform({n}, 0, 1, kKey, options).to_vector<double>();
      for (std::int64_t i = 0; i < n; ++i) {
        const auto bits = philox(kKey, static_cast<std::uint64_t>(i) / 4);
        const auto word = bits[static_cast<std::size_t>(i % 4)];
        REQUIRE(u[static_cast<std::size_t>(i)] == static_cast<double>(unit_interval(word)));
      }
    }
  });
}

TEST_CASE("uniform numbers are uniform and stay inside their bounds") {
  for_each_kind([](TensorOptions options) {
    constexpr std::int64_t n = 100000;
    const std::vector<double> x = uniform({n}, -2, 6, kKey, options).to_vector<double>();
    const Moments m = moments(x);
    // Five standard errors: a right generator with another seed fails once in a million.
    const double five = 5 / std::sqrt(static_cast<double>(n));
    CHECK(std::abs(m.mean - 2) < five * std::sqrt(64 / 12.0));
    CHECK(std::abs(m.var - 64 / 12.0) < five * 64 * std::sqrt(1 / 180.0));
    CHECK(m.lowest >= -2);
    CHECK(m.lowest < -1.99);
    CHECK(m.highest < 6);
    CHECK(m.highest > 5.99);
    // Chi-squared over 64 bins: mean 63, standard deviation 11.2.
    std::vector<double> bins(64);
    for (double v : x) ++bins[static_cast<std::size_t>((v + 2) * 8)];
    double chi = 0;
    for (double count : bins) chi += std::pow(count - n / 64.0, 2) / (n / 64.0);
    CHECK(chi < 63 + 5 * 11.2);
    CHECK(chi > 63 - 5 * 11.2);
  });
}

TEST_CASE("uniform excludes its upper bound where rounding would reach it") {
  for_each_kind([](TensorOptions options) {
    // Between 1000 and 1001 f32 has 2^14 numbers, so that 1 - 2^-24 would round up to 1001.
    const Moments m = moments(uniform({300000}, 1000, 1001, kKey, options).to_vector<double>());
    CHECK(m.lowest >= 1000);
    CHECK(m.highest < 1001);
  });
}

TEST_CASE("normal numbers have the moments of the normal distribution") {
  for_each_kind([](TensorOptions options) {
    constexpr std::int64_t n = 100001;  // odd: the last pair of Box and Muller is cut
    const std::vector<double> x = normal({n}, 3, 2, kKey, options).to_vector<double>();
    const Moments m = moments(x);
    const double five = 5 / std::sqrt(static_cast<double>(n));
    CHECK(std::abs(m.mean - 3) < five * 2);
    CHECK(std::abs(m.var - 4) < five * 4 * std::sqrt(2));
    CHECK(std::abs(m.skew) < five * std::sqrt(6));
    CHECK(std::abs(m.kurtosis - 3) < five * std::sqrt(24));
    double inside = 0;
    for (double v : x) inside += std::abs(v - 3) < 2 ? 1.0 / n : 0;
    CHECK(std::abs(inside - 0.6826895) < five * 0.47);
    for (double v : x) REQUIRE(std::isfinite(v));
    // Neighbours come from one pair and must not know of each other.
    const std::vector<double> head(x.begin(), x.end() - 1), tail(x.begin() + 1, x.end());
    CHECK(std::abs(correlation(head, tail)) < five);
  });
}

TEST_CASE("the same key gives the same numbers, another one others") {
  for_each_kind([](TensorOptions options) {
    constexpr std::int64_t n = 10000;
    const Tensor x = uniform({n}, 0, 1, kKey, options);
    CHECK(same_bits(x, uniform({n}, 0, 1, kKey, options)));
    CHECK(same_bits(x.slice(0, 0, 77), uniform({7, 11}, 0, 1, kKey, options).reshape({77})));
    const double limit = 5 / std::sqrt(static_cast<double>(n));
    for (const RandomKey& other :
         {RandomKey{43, kKey.purpose, kKey.stream}, RandomKey{42 + (1ull << 32), kKey.purpose, kKey.stream},
          RandomKey{42, RandomPurpose::dropout, kKey.stream}, RandomKey{42, kKey.purpose, kKey.stream + 1}}) {
      const Tensor y = uniform({n}, 0, 1, other, options);
      CHECK(std::abs(correlation(x.to_vector<double>(), y.to_vector<double>())) < limit);
    }
    check_independent_of_threads([&] {
      return std::vector{uniform({100003}, 0, 1, kKey, options), normal({100003}, 0, 1, kKey, options)};
    });
  });
}

TEST_CASE("f32 and f64 hold the same numbers, on every device") {
  const Tensor wide = normal({10001}, 1, 3, kKey, {DType::f64});
  for_each_kind([&](TensorOptions options) {
    CHECK(same_bits(uniform({1001}, 0, 1, kKey, options).to(DType::f64).to(Device::cpu()),
                    uniform({1001}, 0, 1, kKey, {DType::f64})));
    CHECK(close(normal({10001}, 1, 3, kKey, options), to_array(wide), 8 * unit_roundoff(options.dtype)));
  });
}

TEST_CASE("a permutation holds every number once, and every order is as likely") {
  for (std::int64_t n : {0, 1, 2, 7, 1000}) {
    INFO(n);
    std::vector<std::int64_t> order = permutation(n, kKey);
    CHECK(order == permutation(n, kKey));
    std::sort(order.begin(), order.end());
    std::vector<std::int64_t> all(static_cast<std::size_t>(n));
    std::iota(all.begin(), all.end(), 0);
    CHECK(order == all);
  }
  CHECK(permutation(1000, kKey) != permutation(1000, {42, RandomPurpose::tensor, 8}));
  // 24 orders of 4; 24000 draws: each 1000 times, with a standard deviation of 31.
  std::map<std::vector<std::int64_t>, int> count;
  for (std::uint64_t i = 0; i < 24000; ++i) ++count[permutation(4, {1, RandomPurpose::shuffle, i})];
  CHECK(count.size() == 24);
  for (const auto& [order, times] : count) CHECK(std::abs(times - 1000) < 5 * 31);
}

TEST_CASE("a permutation is the same on every device") {
  // None and one, around the 32 exchanges that a GPU makes at once and few of which are apart in a short
  // order, MNIST's, and one past what 16 bits number.
  for (std::int64_t n : {0, 1, 2, 31, 32, 33, 34, 65, 1000, 60000, 65537}) {
    INFO(n);
    const std::vector<std::int64_t> expected = permutation(n, kKey);
    for (Device device : devices()) {
      INFO(device.str());
      const Tensor order = permutation(n, kKey, device);
      CHECK(order.device() == device);
      CHECK(order.to_vector<std::int64_t>() == expected);
    }
  }
}

TEST_CASE("a key's stream can be in the device's memory") {
  for_each_kind([](TensorOptions options) {
    const Tensor advance = full({}, 3, {DType::i64, options.device});
    RandomKey key = kKey, later = kKey;
    later.stream += 3;
    key.advance = reinterpret_cast<const std::uint64_t*>(advance.data<std::int64_t>());
    CHECK(same_bits(uniform({1001}, 0, 1, key, options), uniform({1001}, 0, 1, later, options)));
    const Tensor x = ones({1001}, options);
    CHECK(same_bits(dropout(x, 0.5, key), dropout(x, 0.5, later)));
    CHECK_FALSE(same_bits(dropout(x, 0.5, key), dropout(x, 0.5, kKey)));
  });
}

TEST_CASE("recorded draws follow on a count, and leave the generator as it was") {
  manual_seed(5);
  default_generator().set_count(10);
  const std::uint64_t used_before = 1000;
  {
    const RecordedDraws recorded(default_generator(), &used_before);
    const RandomKey first = default_generator().next(RandomPurpose::dropout),
                    second = default_generator().next(RandomPurpose::dropout);
    CHECK(first.stream_now() == 1000);
    CHECK(second.stream_now() == 1001);
    CHECK(second.seed == 5);
    CHECK(recorded.used() == 2);
  }
  CHECK(default_generator().count() == 10);
  const RandomKey next = default_generator().next(RandomPurpose::dropout);
  CHECK(next.stream_now() == 10);
  CHECK(next.advance == nullptr);
}

TEST_CASE("draws of one generator are recorded, and those of another are not") {
  Generator one(5), other(6);
  const std::uint64_t used_before = 1000;
  {
    const RecordedDraws recorded(one, &used_before);
    CHECK(other.next(RandomPurpose::dropout).advance == nullptr);
    CHECK(recorded.used() == 0);
    CHECK(one.next(RandomPurpose::dropout).stream_now() == 1000);
    CHECK(recorded.used() == 1);
  }
  CHECK(one.count() == 0);
  CHECK(other.count() == 1);
}

TEST_CASE("the default generator counts its keys and starts anew with a seed") {
  manual_seed(5);
  const Tensor first = rand({10}), second = rand({10}), third = randn({10});
  CHECK_FALSE(same_bits(first, second));
  CHECK(default_generator().count() == 3);
  CHECK(default_generator().seed() == 5);
  manual_seed(5);
  CHECK(same_bits(rand({10}), first));
  default_generator().set_count(2);  // resume
  CHECK(same_bits(randn({10}), third));
  manual_seed(6);
  CHECK_FALSE(same_bits(rand({10}), first));
  CHECK(first.dtype() == DType::f32);
  CHECK(rand({2}, {DType::f64}).dtype() == DType::f64);
}

TEST_CASE("random numbers refuse integers and streams past 2^32") {
  CHECK(mentions(error_of([] { uniform({2}, 0, 1, kKey, {DType::i64}); }), {"floating", "i64"}));
  CHECK(mentions(error_of([] { uniform({2}, 0, 1, {1, RandomPurpose::tensor, 1ull << 32}); }), {"stream"}));
  CHECK(mentions(error_of([] { permutation(2, {1, RandomPurpose::tensor, 1ull << 32}); }), {"stream"}));
}

TEST_CASE("random numbers refuse ranges that their dtype does not hold, and no deviation") {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const auto refused = [](double low, double high, DType dtype) {
    return mentions(error_of([=] { uniform({6}, low, high, kKey, {dtype}); }),
                    {"uniform", fmt::format("{}", low), fmt::format("{}", high)});
  };
  CHECK(refused(-3e38, 3e38, DType::f32));
  CHECK(refused(0, 1e39, DType::f32));
  CHECK(refused(-1e308, 1e308, DType::f64));
  for (DType dtype : {DType::f32, DType::f64}) {
    CHECK(refused(0, inf, dtype));
    CHECK(refused(-inf, 0, dtype));
    CHECK(refused(inf, inf, dtype));
    CHECK(refused(nan, 1, dtype));
    CHECK(refused(0, nan, dtype));
    CHECK(refused(1, 0, dtype));
    for (double std : {-1.0, nan}) {
      CHECK(mentions(error_of([=] { normal({6}, 0, std, kKey, {dtype}); }),
                     {"normal", "std", fmt::format("{}", std)}));
    }
  }
  for_each_kind([](TensorOptions options) {
    const double most = options.dtype == DType::f32 ? 1.7e38 : 8e307;
    const Moments m = moments((uniform({1000}, -most, most, kKey, options) / most).to_vector<double>());
    CHECK(m.lowest < -0.9);
    CHECK(m.highest > 0.9);
    CHECK(uniform({2}, 5, 5, kKey, options).to_vector<double>() == std::vector<double>{5, 5});
    CHECK(normal({2}, 5, 0, kKey, options).to_vector<double>() == std::vector<double>{5, 5});
  });
}
