// The CUDA backend against the CPU's through whole training steps. Skipped without a device.
#include <algorithm>
#include <cmath>

#include "compare.h"
#include "core/random.h"
#include "nn/functional.h"
#include "nn/models.h"
#include "nn/optim.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

constexpr int kSteps = 10;
constexpr std::int64_t kBatch = 3;
// Parameters that get no gradient but rounding are compared on the scale of a step that has one.
constexpr double kSmallestScale = 1e-4;

/// What training leaves: the loss of each step, and the network.
struct Trained {
  std::vector<double> losses;
  NamedTensors state;
};

Trained train(models::Norm norm, TensorOptions options) {
  manual_seed(4);  // 3 has a tie of ReLU or pooling that rounding decides: f32 differs by 4e-5 at once
  nn::Sequential net = models::mnist_net(norm);
  net.to(options.dtype);
  net.to(options.device);
  const double l1 = norm == models::Norm::bn ? 1e-5 : 0;  // the recipe of the study
  optim::SGD sgd(net.parameters(), {.lr = 0.01, .momentum = 0.9, .l1 = l1});
  Random random;
  const Tensor images =
      random.uniform({kSteps * kBatch, 28, 28}, {DType::f64}, 0, 256).to(DType::u8).to(options.device);
  const Tensor labels = random.labels(kSteps * kBatch, 10, options.device);
  const Tensor angles = random.uniform({kSteps * kBatch}, {DType::f32}, -0.12, 0.12).to(options.device);
  Trained result;
  for (int step = 0; step < kSteps; ++step) {
    const std::int64_t begin = step * kBatch, end = begin + kBatch;
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

void check_network(models::Norm norm, DType dtype) {
  INFO("network " << models::name_of(norm) << " in " << name_of(dtype));
  const Trained cpu = train(norm, {dtype, Device::cpu()}), cuda = train(norm, {dtype, Device::cuda()});
  const double allowed = dtype == DType::f32 ? 1e-4 : 1e-10;
  for (int step = 0; step < kSteps; ++step) {
    INFO("step " << step << ": " << cuda.losses[step] << ", expected " << cpu.losses[step]);
    CHECK(std::abs(cuda.losses[step] - cpu.losses[step]) <= allowed * std::abs(cpu.losses[step]));
  }
  REQUIRE(cuda.state.size() == cpu.state.size());
  for (std::size_t i = 0; i < cpu.state.size(); ++i) {
    INFO(cpu.state[i].first);
    const Array expected = to_array(cpu.state[i].second);
    CHECK(close(cuda.state[i].second, expected, allowed, std::max(expected.largest(), kSmallestScale)));
  }
}

}  // namespace

TEST_CASE("ten training steps of every network are the same on the GPU as on the CPU") {
  if (cuda_devices().count == 0) {
    WARN("no CUDA device: " << cuda_devices().reason);
    return;
  }
  for (const std::string_view name : models::norm_names()) {
    for (const DType dtype : {DType::f32, DType::f64}) check_network(models::parse_norm(name), dtype);
  }
}
