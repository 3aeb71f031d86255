// A few training steps, to compare what two ways to run them leave behind.
#pragma once

#include "compare.h"
#include "evenkeel/apps/mnist/network.h"
#include "evenkeel/core/random.h"
#include "evenkeel/nn/functional.h"
#include "evenkeel/nn/optim.h"

namespace evenkeel::test {

/// The loss of each step, and the network after them.
struct Trained {
  std::vector<double> losses;
  NamedTensors state;
};

/// Steps of `batch` random images through the network of the study, with its recipe.
inline Trained train_steps(mnist::Norm norm, TensorOptions options, int steps, std::int64_t batch) {
  manual_seed(4);  // 3 has a tie of ReLU or pooling that rounding decides: f32 differs by 4e-5 at once
  nn::Sequential net = mnist::network(norm);
  net.to(options.dtype);
  net.to(options.device);
  const double l1 = norm == mnist::Norm::bn ? 1e-5 : 0;
  optim::SGD sgd(net.parameters(), {.lr = 0.01, .momentum = 0.9, .l1 = l1});
  Random random;
  const Tensor images =
      random.uniform({steps * batch, 28, 28}, {DType::f64}, 0, 256).to(DType::u8).to(options.device);
  const Tensor labels = random.labels(steps * batch, 10, options.device);
  const Tensor angles = random.uniform({steps * batch}, {DType::f32}, -0.12, 0.12).to(options.device);
  Trained result;
  for (int step = 0; step < steps; ++step) {
    const std::int64_t begin = step * batch, end = begin + batch;
    const Tensor x = rotate_normalize(images, arange(begin, end).to(options.device),
                                      angles.slice(0, begin, end), 0.1307, 0.3081);
    const Tensor loss = nll_loss(net(x.to(options.dtype)), labels.slice(0, begin, end));
    sgd.zero_grad();
    loss.backward();
    sgd.step();
    result.losses.push_back(loss.item());
  }
  result.state = net.state_dict();
  return result;
}

}  // namespace evenkeel::test
