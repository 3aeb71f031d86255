// The consumer's own file; Evenkeel has one of this name, whose includes must not find this one.
#pragma once

namespace consumer {

struct Tensor {
  int rank;
};
Tensor own_tensor();

}  // namespace consumer
