// One step of SGD for one parameter, as torch.optim.SGD documents it, with an L1 penalty.
#pragma once

#include "reference/array.h"

namespace reference {

struct Sgd {
  double lr, momentum = 0, weight_decay = 0, l1 = 0;
  bool nesterov = false, proximal = false;
};

/// Updates p and velocity, which starts at 0.
void sgd_step(Array& p, Array& velocity, const Array& gradient, const Sgd& how);

}  // namespace reference
