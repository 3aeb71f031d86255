#include "core/gradcheck.h"

#include <cmath>

#include "core/autograd.h"
#include "core/ops.h"
#include "core/random.h"

namespace evenkeel {
namespace {

/// The elements to check: all, or `limit` random ones.
std::vector<std::int64_t> elements_to_check(std::int64_t n, int limit, std::uint64_t seed) {
  std::vector<std::int64_t> order = permutation(n, {seed, RandomPurpose::tensor, 1});
  if (limit > 0 && limit < n) order.resize(limit);
  return order;
}

/// Sets one element of a dense f64 tensor.
void set_element(const Tensor& x, std::int64_t i, double value) {
  if (x.format() == MemoryFormat::lanes) {
    const Tensor strided = x.detach().contiguous();
    set_element(strided, i, value);
    x.detach().copy_(strided);
    return;
  }
  Tensor flat = x.detach().reshape({-1});
  flat.slice(0, i, i + 1).fill_(value);
}

}  // namespace

GradcheckResult gradcheck(const std::function<Tensor(const std::vector<Tensor>&)>& fn,
                          const std::vector<Tensor>& inputs, GradcheckOptions options) {
  for (const Tensor& x : inputs) {
    const bool dense = x.format() == MemoryFormat::lanes || x.is_contiguous();
    EK_CHECK(!x.requires_grad() || (x.dtype() == DType::f64 && !x.variable()->node && dense),
             "gradcheck: inputs that require a gradient must be dense f64 leaves");
  }
  for (Tensor x : inputs) x.zero_grad();
  const Tensor y = fn(inputs);
  EK_CHECK(y.dtype() == DType::f64, "gradcheck: the function returned {}; central differences need f64",
           name_of(y.dtype()));
  const Tensor dy = normal(y.shape(), 0, 1, {options.seed, RandomPurpose::tensor, 0}, y.options());
  y.backward(dy);

  GradcheckResult result;
  const NoGrad guard;
  const auto objective = [&] { return sum(fn(inputs) * dy).item(); };
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    const Tensor& x = inputs[k];
    if (!x.requires_grad()) continue;
    const std::vector<double> values = x.to_vector<double>();
    const std::vector<double> analytic =
        x.grad().defined() ? x.grad().to_vector<double>() : std::vector<double>(values.size(), 0.0);
    for (std::int64_t i : elements_to_check(x.numel(), options.max_elements, options.seed)) {
      set_element(x, i, values[i] + options.eps);
      const double above = objective();
      set_element(x, i, values[i] - options.eps);
      const double below = objective();
      set_element(x, i, values[i]);
      const double numerical = (above - below) / (2 * options.eps);
      const double error = std::abs(analytic[i] - numerical);
      if (error > result.worst) result.worst = error;
      const bool close = error <= options.atol + options.rtol * std::abs(numerical);
      if (result.ok && !(close && std::isfinite(numerical))) {
        result.ok = false;
        result.message = fmt::format("input {} of shape {}, element {}: analytic {:.10g}, numerical {:.10g}",
                                     k, x.shape().str(), i, analytic[i], numerical);
      }
    }
  }
  return result;
}

}  // namespace evenkeel
