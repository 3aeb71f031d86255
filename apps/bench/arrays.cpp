#include "bench/arrays.h"

#include <cmath>
#include <limits>

#include "evenkeel/core/dispatch.h"

namespace evenkeel::bench {
namespace {

template <typename Draw>
Fill each(Draw draw) {
  return [=](const reference::Sizes& shape, const Values&, Generator& random) {
    Array a(shape);
    auto next = draw;
    for (double& value : a.values) value = next(random);
    return a;
  };
}

/// The values as they are after a conversion to T.
template <typename T>
std::vector<T> converted(const Array& a) {
  std::vector<T> values(static_cast<std::size_t>(a.numel()));
  std::transform(a.values.begin(), a.values.end(), values.begin(),
                 [](double v) { return static_cast<T>(v); });
  return values;
}

void round_to(DType dtype, Array& a) {
  if (!is_floating(dtype)) return;
  dispatch_any(dtype, [&]<typename T>() {
    for (double& value : a.values) value = static_cast<double>(static_cast<T>(value));
  });
}

Tensor place(const Operand& operand, const Array& values, Device device) {
  return dispatch_any(operand.dtype,
                      [&]<typename T>() { return from_vector(converted<T>(values), operand.shape, device); });
}

}  // namespace

Fill normal(double mean) { return each(std::normal_distribution<double>(mean, 1)); }

Fill positive() {
  return each([](Generator& random) { return std::uniform_real_distribution<double>(0.5, 1.5)(random); });
}

Fill integers(std::int64_t limit) {
  return each([limit](Generator& random) {
    return static_cast<double>(std::uniform_int_distribution<std::int64_t>(0, limit - 1)(random));
  });
}

Fill derived(std::function<Array(const Values&)> f) {
  return [f](const reference::Sizes&, const Values& earlier, Generator&) { return f(earlier); };
}

reference::Sizes sizes_of(const Shape& shape) { return {shape.begin(), shape.end()}; }

Values make_values(const std::vector<Operand>& operands) {
  Values values;
  Generator random(1);
  for (const Operand& operand : operands) {
    if (!operand.fill) continue;
    Array a = operand.fill(sizes_of(operand.shape), values, random);
    round_to(operand.dtype, a);
    values.emplace(operand.name, std::move(a));
  }
  return values;
}

DeviceArrays::DeviceArrays(const std::vector<Operand>& operands, const Values& values, Device device)
    : device_(device) {
  for (const Operand& operand : operands) {
    if (operand.role == Role::host) continue;
    const Tensor tensor = operand.role == Role::output ? empty(operand.shape, {operand.dtype, device})
                                                       : place(operand, values.at(operand.name), device);
    tensors_.emplace(operand.name, tensor);
    if (operand.role == Role::in_out) first_values_.emplace(operand.name, tensor.clone());
    if (operand.role != Role::input) written_.push_back(operand.name);
  }
}

void DeviceArrays::reset() {
  for (const std::string& name : written_) {
    Tensor& tensor = tensors_.at(name);
    if (const auto first = first_values_.find(name); first != first_values_.end()) {
      tensor.copy_(first->second);
    } else {
      tensor.fill_(is_floating(tensor.dtype()) ? std::numeric_limits<double>::quiet_NaN() : -1);
    }
  }
}

std::map<std::string, std::vector<double>> DeviceArrays::results() const {
  std::map<std::string, std::vector<double>> all;
  for (const std::string& name : written_) all.emplace(name, tensors_.at(name).to_vector<double>());
  return all;
}

std::string DeviceArrays::bits() const {
  std::string all;
  for (const std::string& name : written_) {
    const Tensor host = tensors_.at(name).to(Device::cpu()).contiguous();
    all.append(reinterpret_cast<const char*>(host.storage().data()),
               static_cast<std::size_t>(host.numel() * size_of(host.dtype())));
  }
  return all;
}

}  // namespace evenkeel::bench
