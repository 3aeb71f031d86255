// Uses the consumer's own files beside those of Evenkeel, and computes a value by each layer of the library.
#include <evenkeel/evenkeel.h>

#include <cstdio>
#include <vector>

#include "core/error.h"
#include "core/shape.h"
#include "core/tensor.h"
#include "kernels/common.h"
#include "nn/module.h"

#if !CONSUMER_CORE_ERROR_H || !CONSUMER_CORE_SHAPE_H || !CONSUMER_KERNELS_COMMON_H || !CONSUMER_NN_MODULE_H
#  error "a file of Evenkeel's was taken for the consumer's own"
#endif

namespace ek = evenkeel;

namespace {

/// The gradient of sum(relu(x w)) for w, x = [[1, 2], [3, 4]], w = [[1], [-1/4]]: the sums of x's columns.
bool computes() {
  const ek::Tensor x = ek::from_vector<float>({1, 2, 3, 4}, {2, 2});
  ek::Tensor w = ek::from_vector<float>({1, -0.25F}, {2, 1});
  w.requires_grad_();
  ek::sum(ek::relu(ek::matmul(x, w))).backward();
  return w.grad().to_vector<float>() == std::vector<float>{4, 6};
}

bool refuses() {
  try {
    ek::matmul(ek::zeros({2, 3}), ek::zeros({2, 3}));
  } catch (const ek::Error&) {
    return true;
  }
  return false;
}

}  // namespace

int main() {
  const bool right = consumer::own_tensor().rank == 7 && computes() && refuses();
  std::puts(right ? "right" : "wrong");
  return right ? 0 : 1;
}
