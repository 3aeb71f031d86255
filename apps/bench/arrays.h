// The arrays of a row: described, filled with random values on the host, and placed on a device.
#pragma once

#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "evenkeel/core/tensor.h"
#include "reference/array.h"

namespace evenkeel::bench {

using reference::Array;

/// Arrays in f64 by name, rounded to the types in which the kernels read them.
using Values = std::map<std::string, Array>;
using Generator = std::mt19937_64;

enum class Role {
  input,
  output,
  in_out,  // updated in place
  host,    // never on the device: what only the reference reads
};

/// Makes the values of an array of this shape; `earlier` holds those of the operands before it.
using Fill = std::function<Array(const reference::Sizes& shape, const Values& earlier, Generator& random)>;

struct Operand {
  std::string name;
  Role role = Role::input;
  Shape shape;
  DType dtype = DType::f32;
  Fill fill;  // none for outputs

  std::int64_t bytes() const { return shape.numel() * size_of(dtype); }
};

Fill normal(double mean = 0);
Fill positive();
/// Integers from 0 to below `limit`.
Fill integers(std::int64_t limit);
/// Values that f computes from the operands before.
Fill derived(std::function<Array(const Values&)> f);

reference::Sizes sizes_of(const Shape& shape);

/// The values of all operands that have any; the same every time.
Values make_values(const std::vector<Operand>& operands);

class DeviceArrays {
 public:
  DeviceArrays(const std::vector<Operand>& operands, const Values& values, Device device);

  Device device() const { return device_; }
  const Tensor& tensor(const std::string& name) const { return tensors_.at(name); }
  template <typename T>
  const T* in(const std::string& name) const {
    return tensors_.at(name).data<T>();
  }
  template <typename T>
  T* out(const std::string& name) {
    return tensors_.at(name).mutable_data<T>();
  }

  /// Outputs become NaN (integers -1), what is updated in place gets its first values again.
  void reset();
  /// What is written, each array as f64 in row-major order.
  std::map<std::string, std::vector<double>> results() const;
  /// The bytes of everything that is written.
  std::string bits() const;

 private:
  Device device_;
  std::map<std::string, Tensor> tensors_, first_values_;
  std::vector<std::string> written_;
};

}  // namespace evenkeel::bench
