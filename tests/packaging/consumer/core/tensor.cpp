#include "core/tensor.h"

namespace consumer {

Tensor own_tensor() { return {7}; }

}  // namespace consumer
