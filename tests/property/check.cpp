#include <algorithm>
#include <bit>
#include <cmath>
#include <exception>

#include "evenkeel/core/autograd.h"
#include "evenkeel/core/storage.h"
#include "property/property.h"
#include "property/writer.h"

namespace evenkeel::property {

CaseWriter* case_writer = nullptr;

void fail_case(const std::string& message) { throw Failure(message); }

double largest_finite(const Array& x) {
  double largest = 0;
  for (double value : x.values)
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  return largest;
}

double tolerance(DType dtype) { return dtype == DType::f32 ? 1e-5 : 1e-11; }

namespace {

/// Fresh memory is NaN, or numbers of an ordinary size.
constexpr int kPoisons[] = {0xff, 0x41};

bool same_value(double actual, double expected, double allowed) {
  if (std::isnan(expected)) return std::isnan(actual);
  if (std::isinf(expected)) return actual == expected;
  return std::abs(actual - expected) <= allowed;
}

void compare(const std::string& what, const Array& actual, const Array& expected, double allowed) {
  if (actual.shape != expected.shape)
    fail_case(fmt::format("{} has shape {}, expected {}", what, str(actual.shape), str(expected.shape)));
  Index wrong = 0, first = -1;
  for (Index i = 0; i < actual.numel(); ++i) {
    if (same_value(actual.values[i], expected.values[i], allowed)) continue;
    if (first < 0) first = i;
    ++wrong;
  }
  if (wrong > 0) {
    fail_case(
        fmt::format("{} of shape {}: {} of {} elements differ by more than {:.2g}, first element {}: "
                    "{:.9g}, expected {:.9g}",
                    what, str(actual.shape), wrong, actual.numel(), allowed, first, actual.values[first],
                    expected.values[first]));
  }
}

/// The message of the Error that f throws, or an empty one. Anything else that is thrown fails the case.
std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Failure&) {
    throw;
  } catch (const Error& error) {
    const std::string message = error.what();
    if (message.empty()) fail_case("an Error without a message");
    return message;
  } catch (const std::exception& error) {
    fail_case(fmt::format("threw an exception that is no Error: {}", error.what()));
  }
  return "";
}

void check_message(const std::string& op, const std::string& message,
                   const std::vector<std::string>& others = {}) {
  if (message.find('\n') != std::string::npos)
    fail_case(fmt::format("the Error has more than one line: {}", message));
  const auto has = [&](const std::string& words) { return message.find(words) != std::string::npos; };
  if (!has(op) && std::none_of(others.begin(), others.end(), has))
    fail_case(fmt::format("the Error does not name {}: \"{}\"", op, message));
}

struct Outcome {
  std::string error;  // empty if the call was accepted
  DType dtype = DType::f32;
  Array y;
  std::vector<Array> gradients;  // of inputs that require one; else without axes and elements
};

Outcome execute(const OpCase& c, const Operand& dy, DType dtype, Device device) {
  Outcome result;
  result.gradients.resize(c.inputs.size());
  std::vector<Tensor> inputs;
  for (const Operand& o : c.inputs) inputs.push_back(make_tensor(o, dtype, device));
  Tensor y;
  result.error = error_of([&] { y = c.run(inputs); });
  if (!result.error.empty()) return result;
  if (!y.defined()) fail_case("the result is undefined");
  result.y = to_array(y);
  result.dtype = y.dtype();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].defined()) continue;
    compare(fmt::format("input {} afterwards", i), to_array(inputs[i]), c.inputs[i].values, 0);
  }
  if (!c.backward || !y.requires_grad()) return result;
  const Tensor gradient = make_tensor(dy, y.dtype(), device);
  if (y.shape() != gradient.shape()) return result;  // reported when y is compared
  const std::string error = error_of([&] { y.backward(gradient); });
  if (!error.empty()) fail_case(fmt::format("backward was refused: {}", error));
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!c.inputs[i].gradient) continue;
    const Tensor g = inputs[i].grad();
    if (!g.defined()) fail_case(fmt::format("input {} got no gradient", i));
    if (g.dtype() != inputs[i].dtype())
      fail_case(fmt::format("the gradient of input {} is {}", i, name_of(g.dtype())));
    result.gradients[i] = to_array(g);
  }
  return result;
}

Array absolute(Array x) {
  for (double& value : x.values) value = std::isfinite(value) ? std::abs(value) : 0;
  return x;
}

/// What errors of y and of each gradient are relative to.
std::vector<double> scales(const OpCase& c, const std::vector<Array>& inputs, const Array& dy, const Array& y,
                           const std::vector<Array>& gradients) {
  if (c.scale) return c.scale(inputs, y, dy);
  std::vector<double> result{largest_finite(y)};
  for (const Array& g : gradients) result.push_back(largest_finite(g));
  if (!c.is_sum_of_products) return result;
  std::vector<Array> sizes;
  for (const Array& x : inputs) sizes.push_back(absolute(x));
  result[0] = largest_finite(c.forward(sizes));
  if (!c.backward) return result;
  const std::vector<Array> of_gradients = c.backward(absolute(dy), sizes);
  for (std::size_t i = 0; i < of_gradients.size(); ++i) result[i + 1] = largest_finite(of_gradients[i]);
  return result;
}

void compare_with_reference(const OpCase& c, const Outcome& outcome, const Array& y,
                            const std::vector<Array>& gradients, const std::vector<double>& scale,
                            DType dtype) {
  const DType expected = c.y_dtype.value_or(dtype);
  if (outcome.dtype != expected)
    fail_case(fmt::format("y is {}, not {}", name_of(outcome.dtype), name_of(expected)));
  compare("y", outcome.y, y, tolerance(dtype) * scale[0]);
  if (!c.backward) return;
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    if (c.inputs[i].gradient && c.inputs[i].defined)
      compare(fmt::format("the gradient of input {}", i), outcome.gradients[i], gradients[i],
              tolerance(dtype) * scale[i + 1]);
  }
}

void check_in(const OpCase& c, const Operand& dy, const Array& y, const std::vector<Array>& gradients,
              const std::vector<double>& scale, DType dtype, Device device) {
  Outcome outcomes[2];
  for (int run = 0; run < 2; ++run) {
    set_memory_poison(kPoisons[run]);
    outcomes[run] = execute(c, dy, dtype, device);
  }
  const Outcome& outcome = outcomes[0];
  if (outcome.error.empty() != outcomes[1].error.empty()) fail_case("only one of two runs was refused");
  if (!c.invalid.empty()) {
    if (outcome.error.empty())
      fail_case(fmt::format("was accepted, with y of shape {}; it must be refused: {}", str(outcome.y.shape),
                            c.invalid));
    return check_message(c.op, outcome.error, c.also_named);
  }
  if (!outcome.error.empty()) {
    if (c.may_refuse) return check_message(c.op, outcome.error, c.also_named);
    fail_case(fmt::format("was refused: {}", outcome.error));
  }
  compare_with_reference(c, outcome, y, gradients, scale, dtype);
  must_have_bits("y with other poison", outcome.y, outcomes[1].y);
  for (std::size_t i = 0; i < outcome.gradients.size(); ++i)
    must_have_bits(fmt::format("the gradient of input {} with other poison", i), outcome.gradients[i],
                   outcomes[1].gradients[i]);
}

}  // namespace

Snapshot::Snapshot(const Tensor& x)
    : all_(x.storage(), 0, {x.storage().bytes() / size_of(x.dtype())}, {1}, x.dtype()),
      before_(to_array(all_)) {}

void Snapshot::must_be_unchanged(const std::string& what, const Tensor& except) const {
  const Array now = to_array(all_);
  std::vector<bool> may_change(static_cast<std::size_t>(now.numel()), false);
  if (except.defined()) {
    Sizes index(static_cast<std::size_t>(except.rank()), 0);
    for (Index left = except.numel(); left > 0; --left) {
      Index position = except.offset();
      for (int d = 0; d < except.rank(); ++d)
        position += index[static_cast<std::size_t>(d)] * except.strides()[d];
      may_change[static_cast<std::size_t>(position)] = true;
      for (int d = except.rank() - 1; d >= 0; --d) {
        if (++index[static_cast<std::size_t>(d)] < except.size(d)) break;
        index[static_cast<std::size_t>(d)] = 0;
      }
    }
  }
  for (Index i = 0; i < now.numel(); ++i) {
    if (may_change[static_cast<std::size_t>(i)] || same_value(now.values[i], before_.values[i], 0)) continue;
    fail_case(fmt::format("{} was changed: place {} of {} in memory was {:.9g} and is {:.9g}", what, i,
                          now.numel(), before_.values[i], now.values[i]));
  }
}

bool overlaps_itself(const Operand& o) {
  for (std::size_t d = 0; d < o.values.shape.size(); ++d)
    if (o.layout.repeated[d] && o.values.shape[d] > 1 && o.values.numel() > 0) return true;
  return false;
}

void must_have_bits(const std::string& what, const Array& a, const Array& b) {
  if (a.shape != b.shape) fail_case(fmt::format("{}: shapes {} and {}", what, str(a.shape), str(b.shape)));
  for (Index i = 0; i < a.numel(); ++i) {
    const bool both_nan = std::isnan(a.values[i]) && std::isnan(b.values[i]);
    if (!both_nan && std::bit_cast<std::uint64_t>(a.values[i]) != std::bit_cast<std::uint64_t>(b.values[i]))
      fail_case(fmt::format("{} of shape {} has other bits: element {} is {:.17g} and {:.17g}", what,
                            str(a.shape), i, a.values[i], b.values[i]));
  }
}

void must_equal(const std::string& what, const Tensor& actual, const Array& expected, double scale) {
  if (!actual.defined()) fail_case(fmt::format("{} is undefined", what));
  compare(what, to_array(actual), expected,
          tolerance(actual.dtype()) * (scale > 0 ? scale : largest_finite(expected)));
}

void must_refuse(const std::string& op, const std::string& why, const std::function<void()>& f) {
  const std::string message = error_of(f);
  if (message.empty()) fail_case(fmt::format("was accepted; it must be refused: {}", why));
  check_message(op, message);
}

void check(const OpCase& c, Gen& gen) {
  std::string call = fmt::format("{}({})", c.op, c.args);
  for (std::size_t i = 0; i < c.inputs.size(); ++i)
    call += fmt::format("{} input {}: {}", i == 0 ? ", with" : ";", i, describe(c.inputs[i]));
  std::vector<Array> inputs, gradients;
  for (const Operand& o : c.inputs) inputs.push_back(o.values);
  Array y;
  Operand dy;
  std::vector<double> scale;
  if (c.invalid.empty()) {
    y = c.forward(inputs);
    dy = gen.operand(y.shape, false);
    dy.gradient = false;
    if (c.backward) gradients = c.backward(dy.values, inputs);
    scale = scales(c, inputs, dy.values, y, gradients);
  }
  if (case_writer != nullptr) return case_writer->write(c, dy, y, gradients, scale, gen.seed());
  for (DType dtype : {DType::f64, DType::f32}) {
    try {
      check_in(c, dy, y, gradients, scale, dtype, gen.device());
    } catch (const Failure& failure) {
      fail_case(fmt::format("{} in {}: {}", call, name_of(dtype), failure.what()));
    }
  }
}

}  // namespace evenkeel::property
