// What tests read golden files with: the tensors that make_golden.py wrote, and comparisons that fail closed.
#pragma once

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "catch.h"
#include "evenkeel/core/tensor.h"
#include "evenkeel/nn/safetensors.h"

namespace evenkeel::golden {

/// An element passes if |got - want| <= relative * (largest |want| of its tensor) + absolute.
struct Tolerance {
  double relative, absolute;
};

/// What a golden file's numbers are good for in each dtype.
struct Tolerances {
  Tolerance f64, f32;
  Tolerance operator[](DType dtype) const { return dtype == DType::f64 ? f64 : f32; }
};

/// networks.py's pattern(): ((step * i) mod 101 - 50) / 64.
inline double pattern(std::int64_t i, std::int64_t step) {
  return static_cast<double>(step * i % 101 - 50) / 64;
}

/// scale * pattern + shift.
inline Tensor pattern_tensor(const Shape& shape, std::int64_t step, double scale = 1, double shift = 0) {
  std::vector<double> values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = scale * pattern(static_cast<std::int64_t>(i), step) + shift;
  }
  return from_vector(values, shape);
}

/// networks.py's digest(): sum, weighted sum, l2 norm, each over sqrt(n), largest |t|, 64 elements.
inline std::vector<double> digest(const std::vector<double>& t) {
  double sum = 0, weighted = 0, squares = 0, largest = 0;
  for (std::size_t i = 0; i < t.size(); ++i) {
    sum += t[i];
    weighted += t[i] * pattern(static_cast<std::int64_t>(i), 37);
    squares += t[i] * t[i];
    largest = std::max(largest, std::abs(t[i]));
  }
  const double root = std::sqrt(static_cast<double>(t.size()));
  std::vector<double> out = {sum / root, weighted / root, std::sqrt(squares) / root, largest};
  for (std::size_t i = 0; i < 64; ++i) out.push_back(t[i * t.size() / 64]);
  return out;
}

/// NaN and infinity on either side fail.
inline void compare(const std::vector<double>& got, const std::vector<double>& want, Tolerance tolerance) {
  REQUIRE(got.size() == want.size());
  double largest = 0, worst = 0;
  for (double w : want) largest = std::max(largest, std::abs(w));
  const double bound = tolerance.relative * largest + tolerance.absolute;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double error = std::abs(got[i] - want[i]);
    if (!(error <= bound) || !std::isfinite(want[i])) {
      FAIL_CHECK(fmt::format("element {}: got {}, want {}, bound {}", i, got[i], want[i], bound));
      return;
    }
    worst = std::max(worst, error);
  }
  CHECK(worst <= bound);
}

/// The tensors of one file, converted to a dtype and a device, and a record of which were used.
class GoldenFile {
 public:
  GoldenFile(const std::string& name, TensorOptions options, const Tolerances& tolerances)
      : options_(options), tolerance_(tolerances[options.dtype]) {
    for (auto& [key, value] : load_safetensors(EK_TEST_DIR "/golden/" + name + ".safetensors")) {
      tensors_.emplace(key, value);
    }
    REQUIRE(!tensors_.empty());
  }

  bool has(const std::string& name) const { return tensors_.count(name) > 0; }

  const Tensor& stored(const std::string& name) {
    INFO(name);
    REQUIRE(has(name));
    used_.insert(name);
    return tensors_.at(name);
  }

  /// A copy on the device; floating-point numbers in the dtype.
  Tensor input(const std::string& name) {
    const Tensor& t = stored(name);
    return t.to(is_floating(t.dtype()) ? options_.dtype : t.dtype()).to(options_.device).clone();
  }

  std::vector<double> numbers(const std::string& name) { return stored(name).to_vector<double>(); }

  /// The parts of the names before the last '/'.
  std::set<std::string> groups() const {
    std::set<std::string> out;
    for (const auto& [name, tensor] : tensors_) out.insert(name.substr(0, name.rfind('/')));
    return out;
  }

  /// Compares shape, dtype, device and values with the tensor, or the digest, of that name. `widen`
  /// multiplies the tolerance.
  void expect(const std::string& name, const Tensor& got, double widen = 1) {
    INFO(name);
    REQUIRE(got.defined());
    const bool whole = has(name);
    const Tensor& want = stored(whole ? name : name + ".digest");
    const std::vector<double> extents(got.shape().begin(), got.shape().end());
    const std::vector<double> sizes(want.shape().begin(), want.shape().end());
    CHECK(extents == (whole ? sizes : numbers(name + ".shape")));
    CHECK(got.dtype() == (is_floating(want.dtype()) ? options_.dtype : want.dtype()));
    CHECK(got.device() == options_.device);
    const std::vector<double> values = got.to_vector<double>();
    compare(whole ? values : digest(values), want.to_vector<double>(),
            {widen * tolerance_.relative, widen * tolerance_.absolute});
  }

  void expect_numbers(const std::string& name, const std::vector<double>& got) {
    INFO(name);
    compare(got, numbers(name), tolerance_);
  }

  void check_all_used() const {
    for (const auto& [name, tensor] : tensors_) {
      INFO(name << " was compared with nothing");
      CHECK(used_.count(name) == 1);
    }
  }

 private:
  TensorOptions options_;
  Tolerance tolerance_;
  std::map<std::string, Tensor> tensors_;
  std::set<std::string> used_;
};

}  // namespace evenkeel::golden
