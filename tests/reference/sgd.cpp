#include "reference/sgd.h"

#include <cmath>

namespace reference {

void sgd_step(Array& p, Array& velocity, const Array& gradient, const Sgd& how) {
  for (Index i = 0; i < p.numel(); ++i) {
    double& theta = p.values[i];
    const double sign = theta > 0 ? 1 : theta < 0 ? -1 : 0;
    double g = gradient.values[i];
    if (how.weight_decay != 0) g += how.weight_decay * theta;  // 0 times infinity is no 0
    if (!how.proximal) g += how.l1 * sign;
    velocity.values[i] = how.momentum * velocity.values[i] + g;
    theta -= how.lr * (how.nesterov ? g + how.momentum * velocity.values[i] : velocity.values[i]);
    if (how.proximal) {
      const double threshold = how.lr * how.l1;
      if (std::abs(theta) <= threshold) {
        theta = 0;
      } else {
        theta -= std::copysign(threshold, theta);
      }
    }
  }
}

}  // namespace reference
