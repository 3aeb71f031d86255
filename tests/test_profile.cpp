// The time of each op.
#include "evenkeel/core/profile.h"

#include <algorithm>
#include <cmath>

#include "compare.h"
#include "evenkeel/core/cuda.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/functional.h"

using namespace evenkeel;
using namespace evenkeel::test;

TEST_CASE("a profile counts and times the ops, the longest first") {
  for (const Device device : devices()) {
    INFO(device.str());
    const Tensor x = ones({64, 64}, {DType::f32, device});
    const Profile profile;
    CHECK(profile.times().empty());
    for (int i = 0; i < 3; ++i) relu(x);
    matmul(x, x);
    const std::vector<OpTime> times = profile.times();
    REQUIRE(times.size() == 2);
    for (const OpTime& time : times) {
      CHECK((time.op == "relu_forward" || time.op == "matmul"));
      CHECK(time.count == (time.op == "matmul" ? 1 : 3));
      CHECK(time.seconds > 0);
      CHECK(time.seconds < 600);
    }
    CHECK(times[0].seconds >= times[1].seconds);
    CHECK(profile.times()[0].seconds == times[0].seconds);
  }
}

TEST_CASE("there is one profile at a time, which starts at nothing") {
  const Tensor x = ones({4});
  {
    const Profile profile;
    relu(x);
    CHECK(mentions(error_of([] { Profile(); }), {"there is one already"}));
    CHECK(profile.times().size() == 1);
  }
  relu(x);
  CHECK(Profile().times().empty());
}

#ifdef EVENKEEL_WITH_CUDA
TEST_CASE(
    "what a graph records is no op that takes time, and more ops than events are kept for are counted") {
  if (cuda_devices().count == 0) return;
  const Tensor x = ones({4}, {DType::f32, Device::cuda()});
  const Profile profile;
  const CudaGraph graph(0, [&] { relu(x); });
  graph.launch();
  CHECK(profile.times().empty());
  for (int i = 0; i < 5000; ++i) relu(x);
  REQUIRE(profile.times().size() == 1);
  CHECK(profile.times()[0].count == 5000);
}
#endif
