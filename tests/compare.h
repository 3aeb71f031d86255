// What every test uses: conversion between tensors and the reference's arrays, comparisons that fail on NaN,
// random inputs, and loops over everything that an op must run on.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "catch.h"
#include "evenkeel/core/gradcheck.h"
#include "evenkeel/core/tensor.h"
#include "evenkeel/nn/module.h"
#include "reference/array.h"

namespace evenkeel::test {

using reference::Array;

/// The values of x, exactly: f32 numbers are f64 numbers.
Array to_array(const Tensor& x);
Tensor to_tensor(const Array& values, TensorOptions options);

/// The outcome of a comparison, for CHECK(close(...)): prints the first difference, and where it is.
struct Comparison {
  bool ok = true;
  std::string message;
  explicit operator bool() const { return ok; }
};
std::ostream& operator<<(std::ostream& out, const Comparison& comparison);

/// What rounding may do to an op of a few thousand operations: an error relative to the largest value. For
/// 16 bits it is the error before the result is rounded to them.
inline double tolerance(DType dtype) { return arithmetic_of(dtype) == DType::f32 ? 1e-5 : 1e-11; }
/// The distance from 1 to the next number, halved.
double unit_roundoff(DType dtype);

/// Equal shapes, and |actual - expected| <= tolerance * scale everywhere; scale 0 stands for the largest
/// |expected|. NaN in `actual` fails, and so does one in `expected`.
Comparison close(const Tensor& actual, const Array& expected, double tolerance, double scale = 0);
/// The same with the tolerance of the dtype; of 16 bits, as close_rounded.
Comparison close(const Tensor& actual, const Array& expected);
/// Equal shapes, and every element is what a number within `error` of the expected one rounds to.
Comparison close_rounded(const Tensor& actual, const Array& expected, double error);
/// Equal shapes, dtypes and bits (NaN equals NaN).
Comparison same_bits(const Tensor& a, const Tensor& b);

/// The message of the Error that f() throws, or "" (and a failed check) if it throws none.
template <typename F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  FAIL_CHECK("no Error was thrown");
  return "";
}
/// True if the message holds every one of the words.
Comparison mentions(const std::string& message, const std::vector<std::string>& words);

/// The CPU, and each CUDA device if there is one.
std::vector<Device> devices();

/// Calls f(options) for each device; failures inside say which.
template <typename F>
void for_each_device_in(DType dtype, F&& f) {
  for (Device device : devices()) {
    INFO(name_of(dtype) << " on " << device.str());
    f(TensorOptions{dtype, device});
  }
}
/// For each device and dtype.
template <typename F>
void for_each_kind(F&& f) {
  for (DType dtype : {DType::f32, DType::f64}) for_each_device_in(dtype, f);
}
/// For bf16 and f16 on each CUDA device.
template <typename F>
void for_each_16bit_kind(F&& f) {
  for (DType dtype : {DType::bf16, DType::f16}) {
    for (Device device : devices()) {
      if (device.is_cpu()) continue;
      INFO(name_of(dtype) << " on " << device.str());
      f(TensorOptions{dtype, device});
    }
  }
}
/// For ops that take 16-bit tensors too.
template <typename F>
void for_each_storage_kind(F&& f) {
  for_each_kind(f);
  for_each_16bit_kind(f);
}
/// The options of the parameters that go with tensors of these options.
inline TensorOptions parameters_of(TensorOptions options) {
  return {arithmetic_of(options.dtype), options.device};
}
/// In f64 only: for gradcheck. 16 bits are not for it: the difference of two outputs drowns in their
/// rounding. What it checks is the same kernel's template in f64.
template <typename F>
void for_each_device(F&& f) {
  for_each_device_in(DType::f64, f);
}

/// Calls f() with one CPU thread and then with two, which must give the same bits in every tensor it returns.
template <typename F>
void check_independent_of_threads(F&& f) {
  const int before = num_threads();
  set_num_threads(1);
  const std::vector<Tensor> one = f();
  set_num_threads(2);
  const std::vector<Tensor> two = f();
  set_num_threads(before);
  REQUIRE(one.size() == two.size());
  for (std::size_t i = 0; i < one.size(); ++i) {
    INFO("tensor " << i);
    CHECK(same_bits(one[i], two[i]));
  }
}

/// Random inputs from std::mt19937_64 with a fixed seed: not from the library's own generator.
class Random {
 public:
  explicit Random(std::uint64_t seed = 1) : engine_(seed) {}
  Tensor normal(const Shape& shape, TensorOptions options, double mean = 0, double std = 1);
  Tensor uniform(const Shape& shape, TensorOptions options, double low = 0, double high = 1);
  /// One value from N(0, 1) for each of the leading `axes` axes, repeated along the others: constant planes.
  Tensor constant_planes(const Shape& shape, TensorOptions options, int axes);
  /// Labels in [0, classes).
  Tensor labels(std::int64_t n, std::int64_t classes, Device device);

 private:
  double next_uniform();
  double next_normal();
  std::mt19937_64 engine_;
};

/// A leaf with the values of x.
Tensor leaf(const Tensor& x);
/// The values of x, without history, in memory with gaps: every second element of a longer last axis.
Tensor with_gaps(const Tensor& x);
/// The values of x in memory in which the first and last axes are exchanged. Gradients flow through it.
Tensor transposed_in_memory(const Tensor& x);

using Names = std::vector<std::string>;
Names names(const NamedTensors& tensors);
/// CHECKs that both have the same names in the same order, and the same bits.
void check_same(const NamedTensors& a, const NamedTensors& b);

}  // namespace evenkeel::test

namespace Catch {
template <>
struct StringMaker<evenkeel::GradcheckResult> {
  static std::string convert(const evenkeel::GradcheckResult& result) {
    return result.ok ? "gradients agree" : result.message;
  }
};
template <>
struct StringMaker<evenkeel::Shape> {
  static std::string convert(const evenkeel::Shape& shape) { return shape.str(); }
};
template <>
struct StringMaker<evenkeel::DType> {
  static std::string convert(evenkeel::DType dtype) { return std::string(name_of(dtype)); }
};
}  // namespace Catch
