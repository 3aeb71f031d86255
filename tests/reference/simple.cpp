#include "reference/simple.h"

#include <cmath>

namespace reference {

Array linear(const Array& x, const Array& weight, const Array& bias) {
  Array y({x.size(0), weight.size(0)});
  for (Index m = 0; m < y.size(0); ++m)
    for (Index o = 0; o < y.size(1); ++o) {
      y(m, o) = bias(o);
      for (Index i = 0; i < x.size(1); ++i) y(m, o) += weight(o, i) * x(m, i);
    }
  return y;
}

LinearGradients linear_backward(const Array& dy, const Array& x, const Array& weight) {
  LinearGradients gradients{Array(x.shape), Array(weight.shape), Array({weight.size(0)})};
  for (Index m = 0; m < dy.size(0); ++m)
    for (Index o = 0; o < dy.size(1); ++o) {
      gradients.dbias(o) += dy(m, o);
      for (Index i = 0; i < x.size(1); ++i) {
        gradients.dx(m, i) += weight(o, i) * dy(m, o);
        gradients.dweight(o, i) += x(m, i) * dy(m, o);
      }
    }
  return gradients;
}

Array relu(const Array& x) {
  Array y(x.shape);
  for (Index i = 0; i < x.numel(); ++i) y.values[i] = x.values[i] > 0 ? x.values[i] : 0;
  return y;
}

Array relu_backward(const Array& dy, const Array& x) {
  Array dx(x.shape);
  for (Index i = 0; i < x.numel(); ++i) dx.values[i] = x.values[i] > 0 ? dy.values[i] : 0;
  return dx;
}

Array dropout(const Array& x, const Array& mask, double p) {
  Array y(x.shape);
  y.values = x.values * mask.values / (1 - p);
  return y;
}

Array log_softmax(const Array& x) {
  Array y(x.shape);
  for (Index m = 0; m < x.size(0); ++m) {
    double largest = x(m, 0);
    for (Index d = 1; d < x.size(1); ++d) largest = std::max(largest, x(m, d));
    double sum = 0;
    for (Index d = 0; d < x.size(1); ++d) sum += std::exp(x(m, d) - largest);
    for (Index d = 0; d < x.size(1); ++d) y(m, d) = x(m, d) - largest - std::log(sum);
  }
  return y;
}

Array log_softmax_backward(const Array& dy, const Array& x) {
  const Array y = log_softmax(x);
  Array dx(x.shape);
  for (Index m = 0; m < x.size(0); ++m)
    for (Index i = 0; i < x.size(1); ++i)
      for (Index j = 0; j < x.size(1); ++j) dx(m, i) += dy(m, j) * ((i == j) - std::exp(y(m, i)));
  return dx;
}

Array nll(const Array& x, const std::vector<Index>& target) {
  Array loss({x.size(0)});
  for (Index m = 0; m < x.size(0); ++m) loss(m) = -x(m, target.at(static_cast<std::size_t>(m)));
  return loss;
}

Array nll_backward(const Array& dloss, const Array& x, const std::vector<Index>& target) {
  Array dx(x.shape);
  for (Index m = 0; m < x.size(0); ++m) dx(m, target.at(static_cast<std::size_t>(m))) = -dloss(m);
  return dx;
}

}  // namespace reference
