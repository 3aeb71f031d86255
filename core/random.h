// Random numbers as functions of (seed, purpose, stream, index): the same on every device, whatever the
// thread count.
#pragma once

#include <cstdint>
#include <vector>

#include "evenkeel/base/mutex.h"
#include "evenkeel/core/tensor.h"
#include "evenkeel/kernels/philox.h"

namespace evenkeel {

/// Hands out RandomKeys: one seed and a counter of the keys used, which is all the state there is to save and
/// resume. Threads may share one: each key goes to one of them, which one depends on their timing.
class Generator {
 public:
  explicit Generator(std::uint64_t seed = 0) : state_{seed} {}
  Generator(const Generator& other) : state_(other.state()) {}
  Generator& operator=(const Generator& other);

  /// A key whose numbers no other key of this generator has.
  RandomKey next(RandomPurpose purpose);
  std::uint64_t seed() const { return state().seed; }
  std::uint64_t count() const { return state().count; }
  void set_count(std::uint64_t count);

 private:
  friend class RecordedDraws;
  struct State {
    std::uint64_t seed;
    std::uint64_t count = 0;
    std::uint64_t recorded_from = 0;             // of a CUDA graph, the count at its begin
    const std::uint64_t* used_before = nullptr;  // and that at each launch, in the device's memory
  };
  State state() const;

  mutable Mutex mutex_;
  State state_;
};

/// The generator that layers draw their initial weights and dropout masks from, unless they are given
/// another.
Generator& default_generator();
/// While a CUDA graph is recorded: the keys of `generator` name, at each launch, those that follow on
/// *used_before, a count in the device's memory. Afterwards the generator, which must live as long, is as it
/// was.
class RecordedDraws {
 public:
  RecordedDraws(Generator& generator, const std::uint64_t* used_before);
  ~RecordedDraws();
  RecordedDraws(const RecordedDraws&) = delete;
  RecordedDraws& operator=(const RecordedDraws&) = delete;
  /// How many keys were handed out so far: a launch uses as many.
  std::uint64_t used() const;

 private:
  Generator& generator_;
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
