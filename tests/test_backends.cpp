// The CUDA backend against the CPU's through whole training steps. Skipped without a device.
#include <algorithm>
#include <cmath>

#include "train_steps.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

constexpr int kSteps = 10;
constexpr std::int64_t kBatch = 3;
// Parameters that get no gradient but rounding are compared on the scale of a step that has one.
constexpr double kSmallestScale = 1e-4;

void check_network(mnist::Norm norm, DType dtype) {
  INFO("network " << mnist::name_of(norm) << " in " << name_of(dtype));
  const Trained cpu = train_steps(norm, {dtype, Device::cpu()}, kSteps, kBatch);
  const Trained cuda = train_steps(norm, {dtype, Device::cuda()}, kSteps, kBatch);
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
  for (const std::string_view name : mnist::norm_names()) {
    for (const DType dtype : {DType::f32, DType::f64}) check_network(mnist::parse_norm(name), dtype);
  }
}
