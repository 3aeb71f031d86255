// Random numbers as functions of (seed, purpose, stream, index): the same on every device, whatever the
// thread count.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "kernels/philox.h"

namespace evenkeel {

/// Hands out RandomKeys: one seed and a counter of the keys used, which is all the state there is to save and
/// resume.
class Generator {
 public:
  explicit Generator(std::uint64_t seed = 0) : seed_(seed) {}
  /// A key whose numbers no other key of this generator has.
  RandomKey next(RandomPurpose purpose) { return {seed_, purpose, count_++}; }
  std::uint64_t seed() const { return seed_; }
  std::uint64_t count() const { return count_; }
  void set_count(std::uint64_t count) { count_ = count; }

 private:
  std::uint64_t seed_;
  std::uint64_t count_ = 0;
};

/// The generator that layers draw their initial weights and dropout masks from.
Generator& default_generator();
/// Starts the default generator anew.
void manual_seed(std::uint64_t seed);

/// U[low, high).
Tensor uniform(const Shape& shape, double low, double high, RandomKey key, TensorOptions options = {});
/// N(mean, std^2), by Box and Muller.
Tensor normal(const Shape& shape, double mean, double std, RandomKey key, TensorOptions options = {});
/// U[0, 1) and N(0, 1) from the default generator.
Tensor rand(const Shape& shape, TensorOptions options = {});
Tensor randn(const Shape& shape, TensorOptions options = {});
/// A random order of 0 .. n-1 (Fisher and Yates).
std::vector<std::int64_t> permutation(std::int64_t n, RandomKey key);

}  // namespace evenkeel
