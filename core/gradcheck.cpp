#include "evenkeel/core/gradcheck.h"

#include <algorithm>
#include <cmath>

#include "evenkeel/core/autograd.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/core/overlap.h"
#include "evenkeel/core/random.h"

namespace evenkeel {
namespace {

/// The elements to check: all, or `limit` random ones.
std::vector<std::int64_t> elements_to_check(std::int64_t n, int limit, std::uint64_t seed) {
  std::vector<std::int64_t> order = permutation(n, {seed, RandomPurpose::tensor, 1});
  if (limit > 0 && limit < n) order.resize(limit);
  return order;
}

/// An element of a dense f64 leaf that is set to other values; it has its own again when this goes.
class Element {
 public:
  Element(const Tensor& x, std::int64_t i, double value) : x_(x.detach()), i_(i), value_(value) {}
  ~Element() { set(value_); }
  Element(const Element&) = delete;
  Element& operator=(const Element&) = delete;

  void set(double value) { x_.reshape({-1}).slice(0, i_, i_ + 1).fill_(value); }

 private:
  Tensor x_;
  std::int64_t i_;
  double value_;
};

bool wants_gradient(const Tensor& x) { return x.defined() && x.requires_grad(); }

/// The gradients that the inputs have collected; they have them again when this goes.
class CollectedGradients {
 public:
  explicit CollectedGradients(const std::vector<Tensor>& inputs) : inputs_(inputs) {
    for (const Tensor& x : inputs) gradients_.push_back(x.defined() ? x.grad() : Tensor());
  }
  ~CollectedGradients() {
    for (std::size_t k = 0; k < inputs_.size(); ++k) {
      if (inputs_[k].defined() && inputs_[k].variable()) inputs_[k].variable()->grad = gradients_[k];
    }
  }
  CollectedGradients(const CollectedGradients&) = delete;
  CollectedGradients& operator=(const CollectedGradients&) = delete;

 private:
  const std::vector<Tensor>& inputs_;
  std::vector<Tensor> gradients_;
};

/// The same function of the same inputs, once: its output and the gradients of the inputs.
struct Evaluation {
  Tensor y;
  std::vector<std::vector<double>> gradients;  // of each input, empty where none is wanted
  std::string error;                           // what is wrong with backward, or nothing
};

using Function = std::function<Tensor(const std::vector<Tensor>&)>;

/// The gradient that x has after backward, zeros if it has none, or a message.
std::vector<double> collected_gradient(const Tensor& x, std::size_t k, std::string& error) {
  const Tensor g = x.grad();
  if (!g.defined()) return std::vector<double>(static_cast<std::size_t>(x.numel()), 0.0);
  if (g.shape() != x.shape() || g.dtype() != x.dtype() || g.device() != x.device()) {
    error =
        fmt::format("input {} is {} {} on {}, its gradient {} {} on {}", k, name_of(x.dtype()),
                    x.shape().str(), x.device().str(), name_of(g.dtype()), g.shape().str(), g.device().str());
    return {};
  }
  return g.to_vector<double>();
}

Evaluation evaluate(const Function& fn, const std::vector<Tensor>& inputs, std::uint64_t seed, Tensor& dy) {
  for (Tensor x : inputs) {
    if (x.defined()) x.zero_grad();
  }
  std::vector<bool> wanted;
  for (const Tensor& x : inputs) wanted.push_back(wants_gradient(x));
  Evaluation result{fn(inputs), {}, {}};
  EK_CHECK(result.y.defined(), "gradcheck: the function returned an undefined tensor");
  EK_CHECK(result.y.dtype() == DType::f64,
           "gradcheck: the function returned {}; central differences need f64", name_of(result.y.dtype()));
  if (!dy.defined())
    dy = normal(result.y.shape(), 0, 1, {seed, RandomPurpose::tensor, 0}, result.y.options());
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    if (wants_gradient(inputs[k]) != wanted[k])
      result.error = fmt::format("the function changed whether input {} requires a gradient", k);
  }
  try {
    if (result.error.empty() && result.y.requires_grad()) result.y.backward(dy);
  } catch (const std::exception& error) {
    result.error = error.what();
  }
  for (std::size_t k = 0; k < inputs.size() && result.error.empty(); ++k) {
    result.gradients.push_back(wants_gradient(inputs[k]) ? collected_gradient(inputs[k], k, result.error)
                                                         : std::vector<double>{});
  }
  result.y = result.y.detach();
  return result;
}

/// True if all numbers are equal; NaN equals NaN.
bool same(const std::vector<double>& a, const std::vector<double>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](double x, double y) { return x == y || (std::isnan(x) && std::isnan(y)); });
}

/// What differs between two evaluations, or nothing.
std::string difference(const Evaluation& first, const Evaluation& second) {
  if (!second.error.empty()) return second.error;
  if (first.y.shape() != second.y.shape() || !same(first.y.to_vector<double>(), second.y.to_vector<double>()))
    return "the function is not deterministic: two calls gave different outputs";
  for (std::size_t k = 0; k < first.gradients.size(); ++k) {
    if (!same(first.gradients[k], second.gradients[k]))
      return fmt::format("backward is not deterministic: two calls gave different gradients of input {}", k);
  }
  return "";
}

void check_inputs(const std::vector<Tensor>& inputs) {
  EK_CHECK(std::any_of(inputs.begin(), inputs.end(), wants_gradient),
           "gradcheck: no input requires a gradient, so there is nothing to check");
  for (const Tensor& x : inputs) {
    EK_CHECK(!wants_gradient(x) || (x.dtype() == DType::f64 && !x.variable()->node && x.is_contiguous()),
             "gradcheck: inputs that require a gradient must be dense f64 leaves");
  }
}

}  // namespace

GradcheckResult gradcheck(const Function& fn, const std::vector<Tensor>& inputs, GradcheckOptions options) {
  check_inputs(inputs);
  const CollectedGradients own(inputs);
  Tensor dy;
  const Evaluation analytic = evaluate(fn, inputs, options.seed, dy);
  if (!analytic.error.empty()) return {false, 0, analytic.error};
  const std::string unsteady = difference(analytic, evaluate(fn, inputs, options.seed, dy));
  if (!unsteady.empty()) return {false, 0, unsteady};

  GradcheckResult result;
  const NoGrad guard;
  if (!same(fn(inputs).to_vector<double>(), analytic.y.to_vector<double>()))
    return {false, 0, "the function gives another output when no gradient is recorded"};
  const auto objective = [&] { return sum(fn(inputs) * dy).item(); };
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    const Tensor& x = inputs[k];
    if (!wants_gradient(x)) continue;
    const std::vector<double> values = x.to_vector<double>(), &expected = analytic.gradients[k];
    for (std::int64_t i : elements_to_check(x.numel(), options.max_elements, options.seed)) {
      Element element(x, i, values[i]);
      element.set(values[i] + options.eps);
      const double above = objective();
      element.set(values[i] - options.eps);
      const double below = objective();
      const double numerical = (above - below) / (2 * options.eps);
      const double error = std::abs(expected[i] - numerical);
      if (error > result.worst) result.worst = error;
      const bool close = error <= options.atol + options.rtol * std::abs(numerical);
      if (result.ok && !(close && std::isfinite(numerical))) {
        result.ok = false;
        result.message = fmt::format("input {} of shape {}, element {}: analytic {:.10g}, numerical {:.10g}",
                                     k, x.shape().str(), i, expected[i], numerical);
      }
    }
  }
  return result;
}

}  // namespace evenkeel
