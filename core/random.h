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
  RandomKey next(RandomPurpose purpose) { return {seed_, purpose, count_++ - recorded_from_, used_before_}; }
  std::uint64_t seed() const { return seed_; }
  std::uint64_t count() const { return count_; }
  void set_count(std::uint64_t count) { count_ = count; }

 private:
  std::uint64_t seed_;
  std::uint64_t count_ = 0;

  friend class RecordedDraws;
  std::uint64_t recorded_from_ = 0;             // of a CUDA graph, the count at its begin
  const std::uint64_t* used_before_ = nullptr;  // and that at each launch, in the device's memory
};

/// The generator that layers draw their initial weights and dropout masks from.
Generator& default_generator();
/// While a CUDA graph is recorded: the default generator's keys name, at each launch, those that follow on
/// *used_before, a count in the device's memory. Afterwards the generator is as it was.
class RecordedDraws {
 public:
  explicit RecordedDraws(const std::uint64_t* used_before);
  ~RecordedDraws();
  RecordedDraws(const RecordedDraws&) = delete;
  RecordedDraws& operator=(const RecordedDraws&) = delete;
  /// How many keys were handed out so far: a launch uses as many.
  std::uint64_t used() const;

 private:
  std::uint64_t before_;
};

/// Starts the default generator anew.
void manual_seed(std::uint64_t seed);

/// U[low, high).
Tensor uniform(const Shape& shape, double low, double high, RandomKey key, TensorOptions options = {});
/// N(mean, std^2), by Box and Muller.
Tensor normal(const Shape& shape, double mean, double std, RandomKey key, TensorOptions options = {});
/// U[0, 1) and N(0, 1) from the default generator.
Tensor rand(const Shape& shape, TensorOptions options = {});
Tensor randn(const Shape& shape, TensorOptions options = {});
/// A random order of 0 .. n-1 (Fisher and Yates), i64 [n]; and on the host.
Tensor permutation(std::int64_t n, RandomKey key, Device device);
std::vector<std::int64_t> permutation(std::int64_t n, RandomKey key);

}  // namespace evenkeel
